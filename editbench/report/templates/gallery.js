"use strict";
const SIZE = 24;
const CAPTIONS = ["source", "mask", "output", "difference"];
const edits = JSON.parse(document.getElementById("edits").textContent);
edits.forEach((edit, position) => Object.assign(edit, { position, text: `${edit.id} ${edit.instruction || ""}`.toLowerCase() }));
const form = document.querySelector("form.controls");
const cards = document.querySelector(".cards");
const pages = document.querySelector(".pages");
const fields = ["category", "status", "sort", "order", "part", "region", "find"];
const metrics = [...form.elements.sort.options].slice(1).map((option) => option.value);
const initial = metrics.length ? { sort: metrics[0] } : {};
let page = 0;
let chosen = [];
let timer;

form.hidden = false;
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("change", () => turn(0));
form.elements.find.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(() => turn(0), 150);
});
pages.addEventListener("click", (event) => {
  const last = Math.ceil(chosen.length / SIZE) - 1;
  const to = { first: 0, previous: page - 1, next: page + 1, last }[event.target.name];
  if (to === undefined) return;
  turn(to);
  cards.scrollIntoView();
  cards.firstElementChild.focus({ preventScroll: true });
});
window.addEventListener("hashchange", follow);
follow();

/* The address holds what is shown, so that it can be sent to somebody. */
function follow() {
  const asked = new URLSearchParams(location.hash.slice(1));
  for (const name of fields) {
    const field = form.elements[name];
    const value = asked.get(name) ?? initial[name] ?? "";
    const known = field.tagName === "INPUT" || [...field.options].some((option) => option.value === value);
    if (known) field.value = value;
    else field.selectedIndex = 0;
  }
  choose();
  const scenario = asked.get("scenario");
  const is = (edit) => edit.id === scenario && edit.repeat === Number(asked.get("repeat") || 0);
  if (scenario !== null && !chosen.some(is)) {
    for (const name of ["category", "status", "part", "find"]) form.elements[name].value = "";
    choose();
  }
  const place = scenario === null ? -1 : chosen.findIndex(is);
  page = place < 0 ? Number(asked.get("page") || 1) - 1 || 0 : Math.floor(place / SIZE);
  draw();
  if (place < 0) return;
  const card = cards.children[place % SIZE];
  card.classList.add("linked");
  card.scrollIntoView();
  card.focus({ preventScroll: true });
}

function turn(to) {
  page = to;
  choose();
  draw();
  const address = new URLSearchParams();
  for (const name of fields) {
    const value = form.elements[name].value;
    if (value !== (initial[name] ?? form.elements[name].options?.[0].value ?? "")) address.set(name, value);
  }
  if (page) address.set("page", page + 1);
  history.replaceState(null, "", `#${address}`);
}

function choose() {
  const { category, status, sort, order, part, find } = form.elements;
  const column = metrics.indexOf(sort.value);
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  const sorted = column >= 0;
  order.disabled = part.disabled = !sorted;
  chosen = edits.filter(
    (edit) =>
      (!category.value || edit.category === category.value) &&
      (!status.value || edit.status === status.value) &&
      words.every((word) => edit.text.includes(word)),
  );
  if (!sorted) return;
  const sign = sort.selectedOptions[0].dataset.worst === "ascending" ? 1 : -1;
  const value = (edit) => edit.values[column][3];
  const numbered = chosen.filter((edit) => value(edit) !== null);
  numbered.sort((a, b) => sign * (value(a) - value(b)) || a.position - b.position);
  const rest = chosen.filter((edit) => value(edit) === null);
  if (part.value) {
    const [from, to] = part.value.split("-").map((share) => (share / 100) * numbered.length);
    chosen = numbered.slice(Math.floor(from), Math.ceil(to));
  } else chosen = numbered;
  if (order.value === "best") chosen.reverse();
  if (!part.value) chosen.push(...rest);
}

function draw() {
  const count = Math.max(Math.ceil(chosen.length / SIZE), 1);
  page = Math.min(Math.max(page, 0), count - 1);
  cards.replaceChildren(...chosen.slice(page * SIZE, (page + 1) * SIZE).map(card));
  document.getElementById("count").textContent = `${chosen.length} of ${edits.length} edits`;
  document.getElementById("page").textContent = `page ${page + 1} of ${count}`;
  pages.hidden = count === 1;
  for (const button of pages.querySelectorAll("button")) {
    button.disabled = ["first", "previous"].includes(button.name) ? page === 0 : page === count - 1;
  }
}

function card(edit) {
  const made = document.getElementById("card").content.cloneNode(true).firstElementChild;
  const link = made.querySelector(".link");
  const address = new URLSearchParams({ scenario: edit.id });
  if (edit.repeat) address.set("repeat", edit.repeat);
  link.href = `#${address}`;
  link.firstElementChild.textContent = edit.id;
  const badge = (kind, text) => text && link.parentElement.append(element("span", `badge ${kind}`, text));
  badge("muted", edit.repeat ? `repeat ${edit.repeat + 1}` : "");
  badge("muted", edit.category);
  badge(edit.status === "ok" ? "good" : "bad", edit.status);
  for (const flag of edit.flags || []) badge("warning", flag);
  const cost = element("small", "", edit.cost || "");
  cost.title = "time and peak memory of the edit";
  link.parentElement.append(cost);
  made.querySelector(".instruction").textContent = edit.instruction || "";
  const reason = made.querySelector(".reason");
  if (edit.reason) reason.textContent = edit.reason;
  else reason.remove();
  made.querySelector(".pictures").append(...CAPTIONS.map((caption) => figure(edit, caption)));
  const values = edit.values.map(([text, kind, note], index) => {
    const row = document.createElement("div");
    row.title = note ? `${metrics[index]}: ${note}` : metrics[index];
    row.append(element("dt", "", metrics[index]), element("dd", kind, text));
    return row;
  });
  made.querySelector(".values").append(...values);
  return made;
}

function figure(edit, caption) {
  const made = document.createElement("figure");
  const frame = element("div", "frame", "");
  if (edit[caption]) {
    frame.append(picture(edit[caption], `${caption} of ${edit.id}`, ""));
    if (caption === "output" && edit.source) frame.append(picture(edit.source, "", "before"));
    const region = form.elements.region.value;
    if (region && edit.region) frame.append(picture(edit.region, "", region));
    made.append(frame);
  } else made.append(element("div", "missing", edit.problem || edit.status));
  made.append(element("figcaption", "", caption));
  if (caption === "output" && edit.output && edit.source) made.append(slider(edit, made.firstElementChild));
  return made;
}

function picture(path, alt, kind) {
  const made = element("img", kind, "");
  Object.assign(made, { loading: "lazy", alt });
  made.src = path;
  return made;
}

function slider(edit, frame) {
  const made = document.createElement("input");
  Object.assign(made, { type: "range", min: 0, max: 100, value: 0, title: "from output to source" });
  made.setAttribute("aria-label", `how much of the source covers the output of ${edit.id}, in per cent`);
  made.addEventListener("input", () => frame.style.setProperty("--covered", `${made.value}%`));
  return made;
}

function element(tag, kind, text) {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  made.textContent = text;
  return made;
}
