// One step on the page: its text, which can be edited, its confidence as number, colour and bar, and what can be done.

import { colour, shown } from "./confidence.js";
import { button, grow, make, newId } from "./elements.js";

const KEYS = [
  { key: "ArrowUp", alt: true, action: "up" },
  { key: "ArrowDown", alt: true, action: "down" },
  { key: "PageUp", alt: true, action: "left" },
  { key: "PageDown", alt: true, action: "right" },
  { key: "Enter", control: true, action: "split" },
  { key: "Enter", control: true, shift: true, action: "add" },
  { key: "Backspace", control: true, shift: true, action: "remove" },
];

/** A row of the list. `actions` holds a function for each action of KEYS, `merge` and `edited`; each gets the row. */
export class StepRow {
  /** `score` is a number, null where the model did not read so far, undefined where it is not known (yet). */
  score = undefined;

  constructor(text, actions) {
    this.actions = actions;
    const ids = { flag: newId("flag"), value: newId("confidence") };
    this.flag = make("p", { class: "flag", id: ids.flag, hidden: true }, "First doubtful step");
    this.index = make("span", { class: "index", "aria-hidden": "true" });
    this.value = make("span", { class: "value" });
    this.spoken = make("span", { class: "unseen", id: ids.value });
    this.bar = make("span", { class: "bar", "aria-hidden": "true" }, make("i"));
    this.area = make("textarea", {
      class: "text",
      rows: "1",
      "aria-describedby": `${ids.flag} ${ids.value}`,
      on: { keydown: (event) => this.pressed(event), input: () => this.edited() },
    });
    this.area.value = text;
    this.tools = make("div", { class: "tools", role: "group" }, ...this.makeTools());
    this.element = make(
      "li",
      { class: "step" },
      this.flag,
      make("div", { class: "score" }, this.index, this.value, this.spoken, this.bar),
      this.area,
      this.tools,
    );
  }

  makeTools() {
    const tool = (name, text, label) => {
      const made = button(text, () => this.actions[name](this), { class: "tool", title: label });
      this[`${name}Button`] = made;
      return made;
    };
    return [
      tool("split", "Split", "Split this step where the cursor is"),
      tool("merge", "Merge up", "Merge this step with the one above"),
      tool("add", "Add below", "Add an empty step below"),
      tool("remove", "Remove", "Remove this step"),
    ];
  }

  get text() {
    return this.area.value.trim();
  }

  set text(text) {
    this.area.value = text;
    grow(this.area);
  }

  edited() {
    grow(this.area);
    this.actions.edited(this);
  }

  pressed(event) {
    const control = event.ctrlKey || event.metaKey;
    const found = KEYS.find(
      ({ key, alt = false, control: wanted = false, shift = false }) =>
        event.key === key && event.altKey === alt && control === wanted && event.shiftKey === shift,
    );
    const { selectionStart, selectionEnd } = this.area;
    const atBeginning = selectionStart === 0 && selectionEnd === 0;
    const plain = !event.altKey && !control && !event.shiftKey && !event.isComposing;
    const action = found?.action ?? (event.key === "Backspace" && plain && atBeginning ? "merge" : undefined);
    if (action && this.actions[action](this) !== false) event.preventDefault();
  }

  /** Puts the cursor into the step, at a place of its text. */
  focus(at = 0) {
    this.area.focus();
    this.area.setSelectionRange(at, at);
  }

  /** Says which step of which solution this is. */
  number(index, solution) {
    this.index.textContent = String(index + 1);
    this.area.setAttribute("aria-label", `Step ${index + 1} of ${solution}`);
    this.tools.setAttribute("aria-label", `What to do with step ${index + 1} of ${solution}`);
    this.mergeButton.disabled = index === 0;
  }

  /** Shows the confidence; `waiting` while it is being asked for. */
  show({ first = false, waiting = false }) {
    const known = typeof this.score === "number";
    const empty = this.text === "";
    this.element.className = ["step", known ? colour(this.score) : "unknown", first ? "first" : ""].join(" ").trim();
    this.flag.hidden = !first;
    this.value.textContent = this.score === undefined ? (waiting && !empty ? "…" : "") : shown(this.score);
    this.spoken.textContent = this.sentence(empty, waiting);
    this.bar.firstChild.style.inlineSize = known ? `${this.score * 100}%` : "0";
    this.value.title = this.score === null ? "Beyond the longest text that the model reads" : "";
  }

  sentence(empty, waiting) {
    if (empty) return "Empty: not scored";
    if (this.score === null) return "Not scored: beyond the longest text that the model reads";
    if (this.score === undefined) return waiting ? "Being scored" : "Not scored yet";
    return `Confidence ${shown(this.score)}`;
  }
}
