"use strict";
const controls = document.querySelector(".controls");
const cards = document.querySelector(".cards");
const [category, status, sort, order] = ["category", "status", "sort", "order"].map((id) => document.getElementById(id));
const articles = [...cards.children];
controls.hidden = false;
controls.addEventListener("change", show);
show();

function show() {
  let count = 0;
  for (const article of articles) {
    const { category: itsCategory, status: itsStatus } = article.dataset;
    article.hidden = !(!category.value || itsCategory === category.value) || !(!status.value || itsStatus === status.value);
    count += !article.hidden;
  }
  document.getElementById("count").textContent = `${count} of ${articles.length} edits`;
  order.disabled = sort.value === "";
  cards.append(...[...articles].sort(sort.value === "" ? byPosition : byValue));
}

function byPosition(a, b) {
  return a.dataset.position - b.dataset.position;
}

function byValue(a, b) {
  const ascending = (sort.selectedOptions[0].dataset.worst === "ascending") === (order.value === "worst");
  const [left, right] = [a, b].map((article) => article.getAttribute(`data-value-${sort.value}`));
  if (left === "" || right === "") return (left === "") - (right === "") || byPosition(a, b);
  return (ascending ? left - right : right - left) || byPosition(a, b);
}
