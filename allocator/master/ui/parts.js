// What the page is put together from: elements, numbers with units, bars, tables, a sparkline.

/** Return a new element with properties (`class`, `on…`, attributes) and children. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Numbers.

const plain = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });

/** 1234.5 → "1,234.5" */
export const number = (value) => plain.format(value);

/** 0.3333 → "33.3%" */
export const percent = (part) => `${(part * 100).toFixed(1)}%`;

/** Megabytes as people read them: 2048 → "2 GiB". */
function size(mebibytes) {
  if (mebibytes === 0) return "0";
  const units = ["MiB", "GiB", "TiB", "PiB"];
  let value = mebibytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || Number.isInteger(value) ? 0 : 1;
  return `${value.toLocaleString("en", { maximumFractionDigits: digits })} ${units[unit]}`;
}

/** An amount of a resource with its unit. */
export const amount = (name, value) =>
  name === "mem" || name === "disk" ? size(value) : number(value);

/** {"cpus":1,"mem":64} → "1 cpus, 64 MiB mem" */
export function amounts(resources) {
  const order = ["cpus", "mem", "gpus", "disk"];
  const names = Object.keys(resources).sort(
    (a, b) => (order.indexOf(a) + 1 || 9) - (order.indexOf(b) + 1 || 9) || (a < b ? -1 : 1),
  );
  return names
    .filter((name) => resources[name])
    .map((name) => `${amount(name, resources[name])} ${name}`)
    .join(", ");
}

/** Seconds as people read them: 75 → "1 min 15 s". */
export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

export const milliseconds = (ms) => `${ms < 10 ? ms.toFixed(2) : ms.toFixed(0)} ms`;

// Bars.

/** A bar of 0 to 1 with what is used, what is on offer beyond, and ticks: [{at, kind, title}]. */
export function bar({ used = 0, offered = 0, ticks = [], label, tone = "" }) {
  const element = h("span", { class: `meter ${tone}`, role: "img", "aria-label": label, title: label });
  const add = (kind, from, to) => {
    const part = h("i", { class: kind });
    part.style.left = `${Math.min(from, 1) * 100}%`;
    part.style.width = `${Math.max(0, Math.min(to, 1) - Math.min(from, 1)) * 100}%`;
    element.append(part);
  };
  add("used", 0, used);
  if (offered) add("offered", used, used + offered);
  for (const tick of ticks) {
    const mark = h("b", { class: tick.kind, title: tick.title });
    mark.style.left = `${Math.min(Math.max(tick.at, 0), 1) * 100}%`;
    element.append(mark);
  }
  return element;
}

/** A line of the last values, with an axis from 0 to the largest. */
export function sparkline(values, label) {
  const space = "http://www.w3.org/2000/svg";
  const [width, height] = [240, 44];
  const most = Math.max(...values, 0.001);
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  const step = width / Math.max(values.length - 1, 1);
  const points = values.map((value, i) => `${i * step},${height - 2 - (value / most) * (height - 6)}`);
  const shapes = [
    ["polygon", `0,${height} ${points.join(" ")} ${(values.length - 1) * step},${height}`],
    ["polyline", points.join(" ")],
  ];
  for (const [tag, at] of shapes) {
    const shape = document.createElementNS(space, tag);
    shape.setAttribute("points", at);
    svg.append(shape);
  }
  return svg;
}

// Tables.

/** So many rows stand there at first; a button shows the others. */
const FIRST_ROWS = 12;

/**
 * A table that sorts, filters and keeps its rows when it is told new ones.
 *
 * Columns: `{id, title, value(row), draw(row) → node or text, number?, most?, minor?}`; minor ones
 * are not shown on narrow screens, those of numbers and `most` sort from the largest at first. `order`: [column id, 1 or -1], or null for the order that rows come in.
 */
export class Table {
  constructor(section, { kind, columns, order = null, empty, find = null, all = false }) {
    this.kind = kind;
    this.columns = columns;
    this.order = order;
    this.empty = empty;
    this.find = find;
    this.isOpen = all;
    this.rows = [];
    this.n = 0;
    this.found = null;
    this.text = "";
    this.lines = new Map();
    this.body = h("tbody");
    this.heads = columns.map((column) => this.head(column));
    this.more = h("button", { type: "button", class: "quiet more", onclick: () => this.open() });
    this.note = h("p", { class: "note", role: "status" });
    const table = h("table", {}, h("thead", {}, h("tr", {}, ...this.heads)), this.body);
    const scroller = h("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": kind }, table);
    section.querySelector(".table").append(scroller, h("div", { class: "foot" }, this.note, this.more));
    if (find) section.querySelector(".head").append(this.box());
    this.showOrder();
  }

  head(column) {
    const cell = h("th", { scope: "col", class: classes(column) });
    if (!column.value) {
      cell.append(column.title);
      return cell;
    }
    cell.append(h("button", { type: "button", onclick: () => this.sortBy(column) }, column.title));
    return cell;
  }

  box() {
    return h("input", {
      type: "search",
      placeholder: "Filter",
      "aria-label": `Filter ${this.kind}`,
      oninput: (event) => this.filter(event.target.value),
    });
  }

  sortBy(column) {
    const [id, way] = this.order ?? [];
    const first = column.number || column.most ? -1 : 1;
    if (id !== column.id) this.order = [column.id, first];
    else if (way === first) this.order = [column.id, -first];
    else this.order = null;
    this.showOrder();
    this.draw();
  }

  showOrder() {
    this.columns.forEach((column, i) => {
      const way = this.order?.[0] === column.id ? this.order[1] : 0;
      const name = way > 0 ? "ascending" : "descending";
      if (way) this.heads[i].setAttribute("aria-sort", name);
      else this.heads[i].removeAttribute("aria-sort");
    });
  }

  open() {
    this.isOpen = !this.isOpen;
    this.draw();
  }

  filter(text) {
    this.text = text.trim().toLowerCase();
    this.found = null;
    clearTimeout(this.timer);
    if (this.text && !this.isWhole()) this.timer = setTimeout(() => this.ask(), 200);
    this.draw();
  }

  isWhole() {
    return this.rows.length >= this.n;
  }

  /** Have the master look for what is not here. */
  async ask() {
    const text = this.text;
    this.asked = Date.now();
    const found = await this.find(this.kind, text);
    if (text !== this.text || found === null) return;
    this.found = found;
    this.draw();
  }

  /** Show these rows, of n that there are. */
  update(rows, n) {
    this.rows = rows;
    this.n = n;
    if (this.text && !this.isWhole() && Date.now() - (this.asked ?? 0) > 2000) this.ask();
    this.draw();
  }

  shown() {
    let rows = this.found?.rows ?? this.rows;
    if (this.text && !this.found) {
      const words = this.text.split(/\s+/);
      rows = rows.filter((row) => {
        const told = JSON.stringify(Object.values(row)).toLowerCase();
        return words.every((word) => told.includes(word));
      });
    }
    const column = this.columns.find(({ id }) => id === this.order?.[0]);
    if (!column) return rows;
    const way = this.order[1];
    return [...rows].sort((a, b) => way * compare(column.value(a), column.value(b)));
  }

  draw() {
    const rows = this.shown();
    const visible = this.isOpen ? rows : rows.slice(0, FIRST_ROWS);
    const lines = new Map();
    let before = null;
    for (const row of visible) {
      const key = row.key ?? row.id;
      const line = this.line(this.lines.get(key), row);
      lines.set(key, line);
      const next = before ? before.nextSibling : this.body.firstChild;
      if (next !== line.element) this.body.insertBefore(line.element, next);
      before = line.element;
    }
    while (before ? before.nextSibling : this.body.firstChild) {
      (before ? before.nextSibling : this.body.firstChild).remove();
    }
    this.lines = lines;
    this.tell(rows.length, visible.length);
  }

  /** Return a row's line, drawn again only where it is another than before. */
  line(known, row) {
    const told = this.columns.map((column) => JSON.stringify(column.told ? column.told(row) : row));
    if (!known) {
      const cells = this.columns.map((column) => h("td", { class: classes(column) }, ...nodes(column.draw(row))));
      return { element: h("tr", { class: row.tone ?? null }, ...cells), cells, told };
    }
    this.columns.forEach((column, i) => {
      if (known.told[i] === told[i]) return;
      const cell = known.cells[i];
      const focused = cell.contains(document.activeElement);
      if (!focused) cell.replaceChildren(...nodes(column.draw(row)));
    });
    known.told = told;
    return known;
  }

  tell(n, visible) {
    const of = this.found?.n ?? (this.text ? n : this.n);
    let note = "";
    if (n === 0) note = this.text ? "Nothing has all of these words." : this.empty;
    else if (of > n) {
      note = `${number(n)} of ${number(of)} are here; ` +
        (this.text ? "more words find fewer." : "the filter finds the others.");
    }
    this.note.textContent = note;
    this.more.hidden = n <= FIRST_ROWS;
    this.more.textContent = this.isOpen ? "Show fewer" : `Show ${number(n - visible)} more`;
    this.more.setAttribute("aria-expanded", String(this.isOpen));
  }
}

const classes = ({ number: isNumber, minor, id }) =>
  [`of-${id}`, isNumber && "number", minor && "minor"].filter(Boolean).join(" ");

const nodes = (drawn) => (Array.isArray(drawn) ? drawn : [drawn]).filter((node) => node !== null && node !== undefined);

function compare(a, b) {
  if (typeof a === "string" && typeof b === "string") {
    return a.localeCompare(b, "en", { numeric: true });
  }
  return a === b ? 0 : (a ?? -Infinity) < (b ?? -Infinity) ? -1 : 1;
}
