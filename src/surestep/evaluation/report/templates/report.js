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

  // Charts: the values behind the mark that is pointed at, tapped, or reached with the arrow keys.
  const REACH = 70;
  let shownTip = null;

  function hideTip() {
    if (!shownTip) return;
    shownTip.tip.hidden = true;
    shownTip.marks.forEach(function (mark) { mark.shape.classList.remove("active"); });
    shownTip = null;
  }

  function watch(figure) {
    const svg = figure.querySelector("svg");
    // Marks that say the same belong together: a bin's dot and its bar.
    const marks = Array.from(svg.querySelectorAll(".dot, .bar")).map(function (shape) {
      const title = shape.querySelector("title");
      const text = title.textContent;
      title.remove();
      return { shape: shape, text: text };
    });
    if (!marks.length) return;
    // The drawing's own title would be shown beside the tip.
    const name = svg.querySelector("title");
    svg.setAttribute("aria-describedby", svg.querySelector("desc").id);
    svg.removeAttribute("aria-labelledby");
    svg.setAttribute("aria-label", name.textContent);
    name.remove();
    const tip = document.createElement("p");
    tip.className = "tip";
    tip.hidden = true;
    tip.setAttribute("role", "status");
    figure.appendChild(tip);
    const order = marks.filter(function (mark, k) {
      return marks.findIndex(function (other) { return other.text === mark.text; }) === k;
    });
    let current = -1;

    function show(mark) {
      if (shownTip && shownTip.tip === tip && shownTip.text === mark.text) return;
      hideTip();
      current = order.findIndex(function (other) { return other.text === mark.text; });
      const same = marks.filter(function (other) { return other.text === mark.text; });
      same.forEach(function (other) { other.shape.classList.add("active"); });
      tip.textContent = mark.text;
      tip.hidden = false;
      const at = mark.shape.getBoundingClientRect();
      const frame = figure.getBoundingClientRect();
      const middle = at.left + at.width / 2 - frame.left - tip.offsetWidth / 2;
      const above = at.top - frame.top - tip.offsetHeight - 8;
      tip.style.left = Math.max(4, Math.min(middle, frame.width - tip.offsetWidth - 6)) + "px";
      tip.style.top = (above < 4 ? at.bottom - frame.top + 8 : above) + "px";
      shownTip = { tip: tip, text: mark.text, marks: same };
    }

    function nearest(event) {
      let best = null;
      let least = REACH;
      marks.forEach(function (mark) {
        const at = mark.shape.getBoundingClientRect();
        const aside = Math.max(at.left - event.clientX, 0, event.clientX - at.right);
        const apart = Math.max(at.top - event.clientY, 0, event.clientY - at.bottom);
        // A bin is a column: how far up or down the pointer is tells less than how far aside.
        const distance = aside + apart / 8;
        if (distance < least) {
          least = distance;
          best = mark;
        }
      });
      return best;
    }

    function point(event) {
      const mark = nearest(event);
      if (mark) show(mark); else hideTip();
    }

    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerdown", point);
    svg.addEventListener("pointerleave", function (event) {
      // A finger that is lifted leaves, too; what it tapped stays to be read.
      if (event.pointerType === "mouse") hideTip();
    });
    svg.tabIndex = 0;
    svg.addEventListener("focus", function () {
      if (svg.matches(":focus-visible")) show(order[Math.max(current, 0)]);
    });
    svg.addEventListener("blur", hideTip);
    svg.addEventListener("keydown", function (event) {
      const last = order.length - 1;
      const to = {
        ArrowRight: Math.min(current + 1, last), ArrowDown: Math.min(current + 1, last),
        ArrowLeft: Math.max(current - 1, 0), ArrowUp: Math.max(current - 1, 0), Home: 0, End: last
      };
      if (event.key === "Escape") hideTip();
      if (!(event.key in to) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      show(order[to[event.key]]);
    });
  }

  document.querySelectorAll(".chart").forEach(watch);
  document.addEventListener("pointerdown", function (event) {
    if (!event.target.closest(".chart svg")) hideTip();
  });

  // Lists and tables: only the entries that match what was chosen.
  function narrow(form) {
    // By getAttribute: the form's control that is called "dataset" takes the place of its property of that name.
    const noun = form.getAttribute("data-noun");
    const items = Array.from(document.getElementById(form.getAttribute("data-narrows")).children);
    const choices = Array.from(form.querySelectorAll("select[data-field]"));
    const search = form.querySelector("input[type=search]");
    const count = form.querySelector(".count");
    const step = Number(form.getAttribute("data-page")) || items.length;
    const more = form.hasAttribute("data-page") ? document.getElementById("more") : null;
    const texts = new Map();
    let most = step;

    function textOf(item) {
      if (!texts.has(item)) texts.set(item, item.textContent.toLowerCase());
      return texts.get(item);
    }

    function show() {
      const words = search ? search.value.toLowerCase().split(/\s+/).filter(Boolean) : [];
      const found = items.filter(function (item) {
        return choices.every(function (one) { return !one.value || item.dataset[one.dataset.field] === one.value; }) &&
          words.every(function (word) { return textOf(item).includes(word); });
      });
      const visible = new Set(found.slice(0, most));
      items.forEach(function (item) { item.hidden = !visible.has(item); });
      const left = found.length - visible.size;
      count.textContent = found.length === 0
        ? "No " + noun + " matches."
        : visible.size + " of " + found.length + (found.length === items.length ? "" : " matching") + " shown.";
      if (more) {
        more.hidden = left === 0;
        more.textContent = "Show " + Math.min(left, step) + " more";
      }
    }

    function restart() {
      most = step;
      show();
    }

    choices.forEach(function (one) { one.addEventListener("change", restart); });
    if (search) search.addEventListener("input", restart);
    form.addEventListener("submit", function (event) { event.preventDefault(); });
    function clear(event) {
      event.preventDefault();
      choices.forEach(function (one) { one.value = ""; });
      if (search) search.value = "";
      restart();
    }

    form.addEventListener("reset", clear);
    form.querySelector("button").addEventListener("click", clear);
    if (more) {
      more.addEventListener("click", function () {
        const firstNew = items.filter(function (item) { return !item.hidden; }).length;
        most += step;
        show();
        const visible = items.filter(function (item) { return !item.hidden; });
        if (visible[firstNew]) visible[firstNew].querySelector("summary").focus();
      });
    }
    show();
  }

  document.querySelectorAll("form[data-narrows]").forEach(narrow);
  document.addEventListener("keydown", function (event) {
    const search = document.getElementById("search");
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (search && event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      search.focus();
    }
  });
})();
