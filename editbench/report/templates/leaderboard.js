"use strict";
const form = document.querySelector("form.filters");
const sections = [...document.querySelectorAll("section")];
const said = document.getElementById("said");

if (form) {
  form.hidden = false;
  form.addEventListener("change", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  filter();
}
for (const section of sections) {
  const table = section.querySelector("table.board");
  const heads = [...table.tHead.rows[1].cells];
  heads.forEach((head, index) => {
    const button = head.querySelector("button");
    button.addEventListener("click", () => {
      const opposite = { ascending: "descending", descending: "ascending" };
      const order = opposite[head.getAttribute("aria-sort")] || head.dataset.first;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      for (const body of table.tBodies) sortRows(body, index, order, "text" in head.dataset);
      said.textContent = `${section.querySelector("h2").textContent} sorted by ${head.title || button.textContent}, ${order}`;
    });
  });
}

function filter() {
  const chosen = (name) => (form.elements[name] ? form.elements[name].value : "");
  const boxes = [...form.querySelectorAll("[name=group]")];
  const hidden = new Set(boxes.filter((box) => !box.checked).map((box) => box.value));
  let shown = 0;
  for (const section of sections) {
    const { suite, part } = section.dataset;
    section.hidden = Boolean((chosen("suite") && suite !== chosen("suite")) || (chosen("part") && part !== chosen("part")));
    for (const row of section.querySelectorAll("tr[data-mask]")) {
      const isControl = row.classList.contains("control");
      row.hidden = isControl ? !form.elements.controls.checked : Boolean(chosen("mask") && row.dataset.mask !== chosen("mask"));
      shown += !row.hidden && !section.hidden;
    }
    for (const cell of section.querySelectorAll("[data-group]")) cell.hidden = hidden.has(cell.dataset.group);
  }
  said.textContent = `${shown} rows`;
}

function sortRows(body, index, order, isText) {
  const sign = order === "ascending" ? 1 : -1;
  const value = (row) => row.cells[index].dataset.value;
  const rows = [...body.querySelectorAll("tr[data-mask]")].sort((a, b) => {
    const [left, right] = [value(a), value(b)];
    if (left === "" || right === "") return (left === "") - (right === "");
    return sign * (isText ? left.localeCompare(right, "en", { numeric: true }) : Number(left) - Number(right));
  });
  body.append(...rows);
}
