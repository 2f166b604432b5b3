"use strict";
(function () {
  const root = document.documentElement;
  root.classList.add("js");

  const theme = document.getElementById("theme");
  theme.addEventListener("click", function () {
    const systemIsDark = window.matchMedia("(prefers-color-scheme: dark)").matches;
    const now = root.dataset.theme || (systemIsDark ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
  });

  const list = document.getElementById("list");
  if (!list) return;
  const PAGE = 20;
  const cards = Array.from(list.children);
  const texts = new Map();
  const dataset = document.getElementById("dataset");
  const kind = document.getElementById("kind");
  const search = document.getElementById("search");
  const count = document.getElementById("count");
  const more = document.getElementById("more");
  const form = search.form;
  let shown = PAGE;

  function textOf(card) {
    if (!texts.has(card)) texts.set(card, card.textContent.toLowerCase());
    return texts.get(card);
  }

  function show() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = cards.filter(function (card) {
      return (!dataset.value || card.dataset.dataset === dataset.value) &&
        (!kind.value || card.dataset.kind === kind.value) &&
        words.every(function (word) { return textOf(card).includes(word); });
    });
    const visible = new Set(found.slice(0, shown));
    cards.forEach(function (card) { card.hidden = !visible.has(card); });
    const left = found.length - visible.size;
    count.textContent = found.length === 0
      ? "No mistake matches."
      : visible.size + " of " + found.length + (found.length === cards.length ? "" : " matching") + " shown.";
    more.hidden = left === 0;
    more.textContent = "Show " + Math.min(left, PAGE) + " more";
  }

  function restart() {
    shown = PAGE;
    show();
  }

  dataset.addEventListener("change", restart);
  kind.addEventListener("change", restart);
  search.addEventListener("input", restart);
  form.addEventListener("submit", function (event) { event.preventDefault(); });
  form.addEventListener("reset", function () { setTimeout(restart, 0); });
  more.addEventListener("click", function () {
    const firstNew = cards.filter(function (card) { return !card.hidden; }).length;
    shown += PAGE;
    show();
    const visible = cards.filter(function (card) { return !card.hidden; });
    if (visible[firstNew]) visible[firstNew].querySelector("summary").focus();
  });
  document.addEventListener("keydown", function (event) {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      search.focus();
    }
  });
  show();
})();
