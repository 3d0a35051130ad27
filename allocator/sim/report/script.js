"use strict";
for (const table of document.querySelectorAll("#tenants")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
    const isNumber = head.classList.contains("number");
    const before = head.getAttribute("aria-sort");
    const sign = (before ? before === "ascending" : isNumber) ? -1 : 1;
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sign < 0 ? "descending" : "ascending");
    const key = (row) => isNumber ? row.cells[column].dataset.by : row.cells[column].textContent;
    const compare = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (!isNumber) return sign * x.localeCompare(y);
      if (x === "" || y === "") return (x === "") - (y === "");
      return sign * (x - y);
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
  }));
}
const theme = document.getElementById("theme");
theme.addEventListener("click", () => {
  const all = ["auto", "light", "dark"];
  const next = all[(all.indexOf(theme.textContent) + 1) % 3];
  theme.textContent = next;
  document.documentElement.dataset.theme = next;
});
