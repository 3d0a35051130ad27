// The page: hears of the cluster over server-sent events, and shows it.

import { Table, amount, amounts, bar, duration, h, milliseconds, number, percent, sparkline } from "/ui/parts.js";

const $ = (id) => document.getElementById(id);

/** The latest picture, and by how much the master's clock is ahead of ours, in seconds. */
let picture = null;
let ahead = 0;

const now = () => Date.now() / 1000 + ahead;
const age = (since) => (since === null ? "–" : duration(now() - since));

// Cluster.

const UNIT_NAMES = { cpus: "CPUs", mem: "Memory", gpus: "GPUs", disk: "Disk" };

function tile(title, value, detail, extra, kind = "") {
  return h("div", { class: `tile ${kind}` },
    h("h3", {}, title), h("p", { class: "value" }, ...value), extra, h("p", { class: "detail" }, detail));
}

function resourceTile({ name, total, used, offered }) {
  const label = `${amount(name, used)} of ${amount(name, total)} used, ${amount(name, offered)} on offer`;
  const detail = `${amount(name, used)} of ${amount(name, total)}` + (offered ? ` · ${amount(name, offered)} on offer` : "");
  const meter = bar({ used: used / total, offered: offered / total, label });
  return tile(UNIT_NAMES[name] ?? name, [percent(used / total), h("small", {}, " used")], detail, meter);
}

function drawCluster({ totals, counts, cycles }) {
  const tiles = totals.map(resourceTile);
  const running = counts.tasks.TASK_RUNNING ?? 0;
  const ended = Object.values(counts.tasks_ended).reduce((sum, n) => sum + n, 0);
  tiles.push(tile("Tasks", [number(running), h("small", {}, " running")], `${number(ended)} ended since the start`, null));
  const off = counts.agents_inactive + counts.agents_unreachable + counts.agents_recovering;
  const agents = [number(counts.agents), h("small", {}, counts.agents === 1 ? " agent" : " agents")];
  const away = [
    counts.agents_inactive && `${number(counts.agents_inactive)} inactive`,
    counts.agents_unreachable && `${number(counts.agents_unreachable)} unreachable`,
    counts.agents_recovering && `${number(counts.agents_recovering)} waited for`,
  ].filter(Boolean).join(", ");
  const connected = `${number(counts.frameworks_connected)} of ${number(counts.frameworks)} frameworks connected`;
  tiles.push(tile("Agents", agents, away || connected, null, off ? "warn" : ""));
  tiles.push(cycleTile(cycles));
  const group = (tiles) => h("div", { class: "tiles" }, ...tiles);
  $("cluster").replaceChildren(group(tiles.slice(0, totals.length)), group(tiles.slice(totals.length)));
}

function cycleTile(cycles) {
  if (!cycles.length) return tile("Cycle", ["–"], "none has run yet", null, "cycle");
  const last = cycles[cycles.length - 1];
  const most = Math.max(...cycles);
  const label = `The last ${cycles.length} cycles took up to ${milliseconds(most)}, the last one ${milliseconds(last)}`;
  const chart = h("div", { class: "spark" },
    h("span", { class: "top-label" }, milliseconds(most)), sparkline(cycles, label), h("span", { class: "low-label" }, "0"));
  return tile("Cycle", [milliseconds(last)], `the last ${cycles.length} cycles, the latest on the right`, chart, "cycle");
}

// Roles.

const depth = (path) => path.split("/").length - 1;

function roleName(row) {
  const name = h("span", { class: "name", title: row.id }, row.id.slice(row.id.lastIndexOf("/") + 1));
  const line = h("span", { class: "tree" });
  for (let i = 0; i < depth(row.id); i += 1) line.append(h("i", { class: "branch" }));
  line.append(name);
  return line;
}

function shareBar(row) {
  const ticks = row.fair === null ? [] : [{ at: row.fair, kind: "fair", title: `fair share ${percent(row.fair)}` }];
  const of = row.dominant ? `${percent(row.share)} of all ${row.dominant}` : "nothing";
  const due = row.fair === null ? "takes no part" : `due ${percent(row.fair)}`;
  return bar({ used: row.used_share, offered: row.share - row.used_share, ticks, label: `${row.id}: ${of}; ${due}` });
}

function quotaBar({ name, guarantee, limit, consumed, offered }) {
  const gone = consumed + offered;
  const most = limit ?? Math.max(guarantee, gone) * 1.15;
  const ticks = guarantee === null || !most ? [] : [{ at: guarantee / most, kind: "guarantee", title: `guarantee ${amount(name, guarantee)}` }];
  const tone = limit !== null && consumed >= limit ? "full" : guarantee !== null && gone < guarantee ? "short" : "";
  const bounds = [
    limit !== null && ` of ${amount(name, limit)}`,
    guarantee !== null && ` · ${amount(name, guarantee)} guaranteed`,
  ].filter(Boolean).join("");
  const state = { full: ", the limit is reached", short: ", guarantee not met" }[tone] ?? "";
  const label = `${name}: ${amount(name, consumed)} consumed, ${amount(name, offered)} on offer${state}`;
  return h("span", { class: "quota" }, h("span", { class: "what" }, name),
    bar({ used: most ? consumed / most : 0, offered: most ? offered / most : 0, ticks, label, tone }),
    h("span", { class: "said" }, `${amount(name, consumed)}${bounds}`));
}

const roles = new Table($("roles"), {
  kind: "roles",
  all: true,
  empty: "No role has a framework, a weight, a quota or a reservation.",
  columns: [
    { id: "role", title: "Role", draw: roleName },
    { id: "weight", title: "Weight", number: true, draw: (row) => number(row.weight) },
    { id: "bar", title: "Dominant share", draw: shareBar },
    { id: "share", title: "Share", number: true, draw: (row) => percent(row.share) },
    { id: "fair", title: "Fair", number: true, draw: (row) => (row.fair === null ? "–" : percent(row.fair)) },
    { id: "dominant", title: "Resource", minor: true, draw: (row) => row.dominant || "–" },
    { id: "quota", title: "Quota", draw: (row) => (row.quota.length ? row.quota.map(quotaBar) : h("span", { class: "faint" }, "none")) },
    { id: "frameworks", title: "Frameworks", number: true, minor: true, draw: (row) => number(row.frameworks) },
  ],
});

// Frameworks.

const tag = (text, kind = "") => h("span", { class: `tag ${kind}` }, text);

function frameworkState(row) {
  if (row.recovered) return tag("recovered", "warn");
  if (!row.connected) return tag("disconnected", "bad");
  if (row.suppressed.length === row.roles.length) return tag("suppressed", "warn");
  if (row.suppressed.length) return tag("partly suppressed", "warn");
  return tag("connected", "good");
}

const stateOf = (row) => (row.recovered ? "recovered" : !row.connected ? "disconnected" : row.suppressed.length ? "suppressed" : "connected");

function whyButton(row) {
  return h("button", { type: "button", class: "ask", onclick: () => ask(row.id, row.name) }, "Why no offers?");
}

const twoLines = (first, second) => [h("span", { class: "first" }, first), h("span", { class: "second" }, second)];

const frameworks = new Table($("frameworks"), {
  kind: "frameworks",
  find,
  empty: "No framework is registered. `allocator framework run` starts one.",
  columns: [
    { id: "name", title: "Framework", value: (row) => row.name, draw: (row) => twoLines(row.name, row.id.slice(-13)) },
    { id: "roles", title: "Roles", value: (row) => row.roles.join(), draw: (row) => row.roles.map((role) => tag(role, row.suppressed.includes(role) ? "off" : "")) },
    { id: "state", title: "State", value: stateOf, draw: frameworkState },
    { id: "bar", title: "Dominant share", value: (row) => row.share, most: true, draw: (row) => [bar({ used: row.share, label: `${percent(row.share)} of all ${row.dominant}` }), h("span", { class: "beside" }, `${percent(row.share)} ${row.dominant}`)] },
    { id: "used", title: "Used", minor: true, draw: (row) => amounts(row.used) || "–" },
    { id: "tasks", title: "Tasks", value: (row) => row.tasks, number: true, draw: (row) => number(row.tasks) },
    { id: "offers", title: "Offers", value: (row) => row.offers, number: true, minor: true, draw: (row) => number(row.offers) },
    { id: "why", title: "", told: (row) => [row.id, row.name], draw: whyButton },
  ],
});

// Agents.

function agentBar(name) {
  return (row) => {
    const total = row.total[name] ?? 0;
    if (!total) return h("span", { class: "faint" }, "–");
    const [used, offered] = [row.used[name] ?? 0, row.offered[name] ?? 0];
    const label = `${amount(name, used)} of ${amount(name, total)} used, ${amount(name, offered)} on offer`;
    return [bar({ used: used / total, offered: offered / total, label }), h("span", { class: "beside" }, `${amount(name, used)} / ${amount(name, total)}`)];
  };
}

const partUsed = (name) => (row) => (row.total[name] ? (row.used[name] ?? 0) / row.total[name] : 0);
const STATE_TONES = { active: "good", inactive: "bad", draining: "warn" };

function others(row) {
  const rest = Object.fromEntries(Object.entries(row.total).filter(([name]) => name !== "cpus" && name !== "mem"));
  return amounts(rest) || "–";
}

const agents = new Table($("agents"), {
  kind: "agents",
  find,
  empty: "No agent is registered. `allocator agent --master URL` starts one.",
  columns: [
    { id: "name", title: "Agent", value: (row) => row.hostname, draw: (row) => twoLines(row.hostname, row.id.slice(row.id.lastIndexOf("-") + 1)) },
    { id: "state", title: "State", value: (row) => row.state, draw: (row) => tag(row.state, STATE_TONES[row.state]) },
    { id: "cpus", title: "CPUs", most: true, value: partUsed("cpus"), draw: agentBar("cpus") },
    { id: "mem", title: "Memory", most: true, value: partUsed("mem"), draw: agentBar("mem") },
    { id: "others", title: "Others", minor: true, draw: others },
    { id: "tasks", title: "Tasks", value: (row) => row.tasks, number: true, draw: (row) => number(row.tasks) },
    { id: "attributes", title: "Attributes", minor: true, draw: (row) => Object.entries(row.attributes).map(([name, value]) => tag(`${name}: ${value}`)) },
  ],
});

// Tasks and offers.

const TASK_TONES = { running: "good", finished: "", staging: "wait", starting: "wait", killing: "warn", killed: "warn", unreachable: "warn" };
const taskTone = (state) => TASK_TONES[state] ?? "bad";

const tasks = new Table($("tasks"), {
  kind: "tasks",
  find,
  empty: "No task was launched yet.",
  columns: [
    { id: "name", title: "Task", value: (row) => row.id, draw: (row) => twoLines(row.name || row.id, row.name && row.name !== row.id ? row.id : row.message) },
    { id: "state", title: "State", value: (row) => row.state, draw: (row) => h("span", { class: `tag ${taskTone(row.state)}`, title: row.message || null }, row.state) },
    { id: "framework", title: "Framework", value: (row) => row.framework, draw: (row) => row.framework },
    { id: "role", title: "Role", minor: true, value: (row) => row.role, draw: (row) => tag(row.role) },
    { id: "agent", title: "Agent", minor: true, value: (row) => row.agent, draw: (row) => row.agent },
    { id: "takes", title: "Takes", minor: true, draw: (row) => amounts(row.resources) },
    { id: "since", title: "Since", number: true, value: (row) => -(row.since ?? Infinity), draw: (row) => ageOf(row) },
  ],
});

/** An age that goes on by itself. */
const ageOf = (row) => h("span", { "data-since": row.since ?? "" }, age(row.since));

const offers = new Table($("offers"), {
  kind: "offers",
  find,
  empty: "No offer is open: frameworks have answered all.",
  columns: [
    { id: "framework", title: "Framework", value: (row) => row.framework, draw: (row) => twoLines(row.framework, row.id.slice(row.id.lastIndexOf("-") + 1)) },
    { id: "role", title: "Role", minor: true, value: (row) => row.role, draw: (row) => tag(row.role) },
    { id: "agent", title: "Agent", value: (row) => row.agent, draw: (row) => row.agent },
    { id: "holds", title: "Holds", draw: (row) => amounts(row.resources) },
    { id: "age", title: "Age", number: true, value: (row) => -row.since, draw: ageOf },
  ],
});

function drawStates({ tasks: states }) {
  const chips = Object.entries(states).map(([state, n]) => {
    const name = state.replace("TASK_", "").toLowerCase();
    return h("span", { class: `tag ${taskTone(name)}` }, `${number(n)} ${name}`);
  });
  $("states").replaceChildren(...chips);
}

async function find(kind, text) {
  try {
    const answer = await fetch(`/ui/find?${new URLSearchParams({ kind, text })}`);
    return answer.ok ? keyed(kind, await answer.json()) : null;
  } catch {
    return null;
  }
}

/** Tasks of two frameworks may have one id. */
function keyed(kind, page) {
  if (kind === "tasks") for (const row of page.rows) row.key = `${row.framework_id} ${row.id}`;
  return page;
}

// The whole.

function show(next) {
  picture = next;
  ahead = next.time - Date.now() / 1000;
  drawCluster(next);
  for (const [kind, table] of Object.entries({ roles, frameworks, agents, tasks, offers })) {
    const { n, rows } = keyed(kind, next[kind]);
    table.update(rows, n);
    document.querySelector(`[data-count="${kind}"]`).textContent = number(n);
  }
  drawStates(next.counts);
  const { cluster, hostname, port, version } = next.master;
  $("name").textContent = cluster || "allocator";
  document.title = cluster ? `${cluster} · allocator` : "allocator";
  drawAbout(`${hostname}:${port} · ${version}`);
}

function drawAbout(text) {
  $("about").textContent = text;
  $("about").title = `up for ${duration(now() - picture.master.start_time)}`;
}

setInterval(() => {
  if (!picture || !isLive) return;
  for (const element of document.querySelectorAll("[data-since]")) {
    const since = element.dataset.since;
    element.textContent = since === "" ? "–" : age(Number(since));
  }
}, 1000);

// The connection.

let isLive = false;
let source = null;
let retry = 500;

function told(text, kind) {
  $("connection").textContent = text;
  $("connection").className = `pill ${kind}`;
}

function connect() {
  source = new EventSource("/ui/events");
  source.onmessage = (event) => {
    isLive = true;
    retry = 500;
    document.body.classList.remove("lost");
    told("live", "good");
    show(JSON.parse(event.data));
  };
  source.addEventListener("cycles", (event) => {
    if (!picture) return;
    picture.cycles = JSON.parse(event.data).cycles;
    drawCluster(picture);
  });
  source.onerror = () => {
    source.close();
    isLive = false;
    document.body.classList.add("lost");
    told(picture ? "connection lost · as it was" : "no connection", "bad");
    setTimeout(connect, retry);
    retry = Math.min(retry * 2, 5000);
  };
}

// Why?

let asked = null;

async function ask(id, name) {
  asked = { id, name };
  $("why-title").textContent = `Why is ${name} not offered more?`;
  $("why-body").replaceChildren(h("p", { class: "note" }, "Looking at what the next cycle would do …"));
  if (!$("why").open) $("why").showModal();
  let body;
  try {
    const answer = await fetch(`/ui/explain?${new URLSearchParams({ framework_id: id })}`);
    body = answer.ok ? explained(await answer.json()) : [h("p", { class: "note" }, await answer.text())];
  } catch {
    body = [h("p", { class: "note" }, "The master does not answer.")];
  }
  if (asked?.id === id) $("why-body").replaceChildren(...body);
}

function explained(answer) {
  const parts = [h("p", { class: "headline" }, answer.headline)];
  for (const halt of answer.halts) parts.push(reasonBox({ ...halt, label: halt.text }, null));
  if (answer.changes.length) {
    parts.push(h("div", { class: "changes" }, h("h3", {}, "The smallest changes that lead to an offer"),
      h("ul", {}, ...answer.changes.map((change) => h("li", {}, change)))));
  }
  return [...parts, ...answer.roles.map(roleBox)];
}

function roleBox(role) {
  const heading = h("h3", {}, "In role ", tag(role.role),
    h("small", {}, role.n_offered ? ` offered on ${number(role.n_offered)} of ${number(role.n_agents)} agents` : " offered on no agent"));
  const reasons = role.reasons.map((reason) => reasonBox(reason, role.n_agents));
  const lines = role.agents.map((agent) => h("tr", {},
    h("td", {}, agent.hostname), h("td", {}, agent.offered || "–"),
    h("td", {}, ...agent.reasons.map((reason) => h("p", {}, reason.text)))));
  const hidden = role.n_agents - role.agents.length;
  const table = h("table", {}, h("thead", {}, h("tr", {}, ...["Agent", "Offered", "Why not more"].map((text) => h("th", { scope: "col" }, text)))), h("tbody", {}, ...lines));
  const details = h("details", {}, h("summary", {}, "Agent by agent"), h("div", { class: "scroller" }, table),
    hidden > 0 ? h("p", { class: "note" }, `and ${number(hidden)} more`) : null);
  return h("section", { class: "of-role" }, heading, ...reasons, details);
}

function reasonBox(reason, of) {
  const where = of === null ? "" : of === 1 ? "on the agent" : `on ${number(reason.agents)} of ${number(of)} agents`;
  return h("div", { class: "reason", "data-kind": reason.kind },
    h("p", {}, h("strong", {}, reason.title), h("span", { class: "where" }, where)),
    h("p", { class: "label" }, reason.label), h("p", { class: "help" }, reason.help));
}

$("why-close").addEventListener("click", () => $("why").close());
$("why-again").addEventListener("click", () => ask(asked.id, asked.name));
$("why").addEventListener("click", (event) => {
  if (event.target === $("why")) $("why").close();
});

// Colours.

const THEMES = ["auto", "light", "dark"];

function setTheme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  $("theme-name").textContent = name;
  $("theme").setAttribute("aria-label", `Colours: ${name === "auto" ? "as the system" : name}`);
  localStorage.setItem("theme", name);
}

$("theme").addEventListener("click", () => {
  const current = localStorage.getItem("theme") ?? "auto";
  setTheme(THEMES[(THEMES.indexOf(current) + 1) % THEMES.length]);
});

setTheme(THEMES.includes(localStorage.getItem("theme")) ? localStorage.getItem("theme") : "auto");
connect();
