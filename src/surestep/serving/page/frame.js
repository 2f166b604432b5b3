// The fixed parts of one solution on the page: heading, sums, rule, text box, list, buttons. Knows no scores' meaning.

import { shown } from "./confidence.js";
import { button, grow, make, newId } from "./elements.js";
import { ruleName, RULES } from "./split.js";

const SUMS = new Map([
  ["min", "Lowest step"],
  ["product", "Product"],
  ["mean", "Mean"],
  ["last", "Last step"],
]);

/** `actions` holds what the buttons do: `asText`, `copy`, `remove`, `undo`, `chooseRule`, `toSteps`. */
export class SolutionFrame {
  constructor(actions) {
    this.actions = actions;
    const id = newId("solution");
    this.heading = make("h3", { id });
    this.badge = make("p", { class: "badge", hidden: true });
    this.summary = make("p", { class: "summary" });
    this.list = make("ol", { class: "steps", hidden: true });
    this.element = make("section", { class: "candidate", "aria-labelledby": id });
    this.element.append(make("div", { class: "head" }, this.heading, this.badge), this.makeSums(), this.summary);
    this.element.append(this.makeSplitter(), this.makeBox(), this.list, this.makeFoot());
  }

  makeSums() {
    this.values = new Map([...SUMS.keys()].map((name) => [name, make("dd", {}, "–")]));
    const sum = ([name, title]) => make("div", { class: `sum ${name}` }, make("dt", {}, title), this.values.get(name));
    this.sums = make("dl", { class: "sums", hidden: true }, ...[...SUMS].map(sum));
    return this.sums;
  }

  makeSplitter() {
    const id = newId("rule");
    const rules = [["auto", "what fits the text"], ...RULES, ["own", "hand"]];
    const options = rules.map(([value, name]) => make("option", { value }, name));
    this.chooser = make("select", { id, on: { change: () => this.actions.chooseRule() } }, ...options);
    this.count = make("label", { for: id });
    this.undoButton = button("Undo", () => this.actions.undo(), { class: "quiet", hidden: true });
    return make("div", { class: "splitter" }, this.count, this.chooser, this.undoButton);
  }

  makeBox() {
    const { toSteps } = this.actions;
    const pressed = (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      toSteps();
    };
    // Only a paste into an empty box is split at once: who types or edits says when it is done.
    const pasted = () => this.box.value === "" && setTimeout(() => toSteps());
    this.box = make("textarea", {
      class: "field",
      rows: "5",
      placeholder: "Paste a solution here: it is split into steps, which you can change.",
      on: { keydown: pressed, paste: pasted, input: () => grow(this.box) },
    });
    const split = button("Split into steps", () => toSteps(), { class: "main" });
    this.boxArea = make("div", { class: "box" }, this.box, split);
    return this.boxArea;
  }

  makeFoot() {
    this.asText = button("Edit as text", () => this.actions.asText(), { class: "quiet" });
    this.copyButton = button("Copy beside", () => this.actions.copy(), { class: "quiet" });
    this.removeButton = button("Remove", () => this.actions.remove(), { class: "quiet" });
    return make("div", { class: "foot" }, this.asText, this.copyButton, this.removeButton);
  }

  /** `Solution A` and so on; the only one cannot be removed, and where it is `full`, none is added. */
  rename(name, inSentence, { alone, full }) {
    this.heading.textContent = name;
    this.removeButton.hidden = alone;
    this.copyButton.disabled = full;
    this.box.setAttribute("aria-label", `Text of ${inSentence}`);
    this.undoButton.setAttribute("aria-label", `Undo: the last change of ${inSentence}`);
    this.copyButton.setAttribute("aria-label", `Copy beside: a copy of ${inSentence}`);
    for (const made of [this.asText, this.removeButton]) {
      made.setAttribute("aria-label", `${made.textContent}: ${inSentence}`);
    }
  }

  /** Shows the text box, or the steps. */
  showBox(on) {
    this.boxArea.hidden = !on;
    for (const element of [this.list, this.sums, this.asText, this.copyButton]) element.hidden = on;
  }

  showRule(rule) {
    // "hand" cannot be chosen: it says what has happened.
    const own = this.chooser.lastElementChild;
    own.hidden = own.disabled = rule !== "own";
    const known = [...this.chooser.options].some((option) => option.value === rule);
    if (!known) own.before(make("option", { value: rule }, ruleName(rule)));
    this.chooser.value = rule;
  }

  /** `answer` is the server's, or null while there is none; `sentence` what is said below it. */
  showState({ state, answer, sentence }) {
    for (const [name, element] of this.values) element.textContent = answer ? shown(answer[name]) : "–";
    this.sums.classList.toggle("unknown", answer === null);
    this.element.setAttribute("aria-busy", String(state === "waiting"));
    this.element.classList.toggle("failing", state === "failed");
    this.summary.replaceChildren(...sentence);
  }

  /** Marks the best of several; `how` names what they are compared by. */
  markBest(is, { tied = false, how = "" } = {}) {
    this.badge.hidden = !is;
    const by = make("span", { class: "unseen" }, ` by ${how}`);
    this.badge.replaceChildren(...(is ? [tied ? "Equally best" : "Best", by] : []));
    this.element.classList.toggle("best", is);
  }
}
