"use strict";
for (const section of document.querySelectorAll("section")) {
  const table = section.querySelector("table.board");
  const toggle = section.querySelector(".toggle");
  if (table.querySelector("tr.control")) toggle.hidden = false;
  toggle.querySelector("input").addEventListener("change", (event) => {
    table.classList.toggle("without-controls", !event.target.checked);
  });
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, index) => {
    head.querySelector("button").addEventListener("click", () => {
      const opposite = { ascending: "descending", descending: "ascending" };
      const order = opposite[head.getAttribute("aria-sort")] || head.dataset.first;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      for (const body of table.tBodies) sortRows(body, index, order, "text" in head.dataset);
    });
  });
}

function sortRows(body, index, order, isText) {
  const sign = order === "ascending" ? 1 : -1;
  const value = (row) => row.cells[index].dataset.value;
  const rows = [...body.rows].sort((a, b) => {
    const [left, right] = [value(a), value(b)];
    if (left === "" || right === "") return (left === "") - (right === "");
    return sign * (isText ? left.localeCompare(right, "en", { numeric: true }) : Number(left) - Number(right));
  });
  body.append(...rows);
}
