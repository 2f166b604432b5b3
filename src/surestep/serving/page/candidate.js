// One solution on the page: a text box until it is split, then its steps, their scores and what sums them up.

import { firstBelow, shown } from "./confidence.js";
import { button, grow, make, newId } from "./elements.js";
import { joinSteps, joint, ruleName, RULES, splitSteps } from "./split.js";
import { StepRow } from "./step.js";

const SUMS = [["min", "Lowest step"], ["product", "Product"], ["mean", "Mean"], ["last", "Last step"]];
const MOST_UNDONE = 50;

/**
 * A solution. `page` answers its questions and is told of its changes:
 * `changed(candidate, {typing})`, `copied`, `removed`, `moved(candidate, by, index)`, `announce(text)`, `threshold()`.
 */
export class Candidate {
  rows = [];
  /** `idle`, `waiting`, `scored` or `failed`. */
  state = "idle";
  /** The server's answer of the steps as they stand, or null. */
  answer = null;
  failure = null;
  /** The text that the steps came from, while nobody has edited them; else null. */
  source = null;
  /** The last rule that split; `own` in the list of rules says that a person went on from there. */
  rule = "auto";
  past = [];
  name = "Solution";

  constructor(page) {
    this.page = page;
    const id = newId("solution");
    this.heading = make("h3", { id });
    this.badge = make("p", { class: "badge", hidden: true });
    this.summary = make("p", { class: "summary" });
    this.values = new Map(SUMS.map(([name]) => [name, make("dd", {}, "–")]));
    this.sums = make("dl", { class: "sums", hidden: true },
      ...SUMS.map(([name, title]) => make("div", { class: `sum ${name}` }, make("dt", {}, title), this.values.get(name))));
    this.list = make("ol", { class: "steps", hidden: true });
    this.element = make("section", { class: "candidate", "aria-labelledby": id },
      make("div", { class: "head" }, this.heading, this.badge),
      this.sums, this.summary, this.makeSplitter(), this.makeBox(), this.list, this.makeFoot());
    this.showBox(true);
  }

  makeFoot() {
    this.asText = button("Edit as text", () => this.toText(), { class: "quiet" });
    this.copyButton = button("Copy beside", () => this.page.copied(this), { class: "quiet" });
    this.removeButton = button("Remove", () => this.page.removed(this), { class: "quiet" });
    return make("div", { class: "foot" }, this.asText, this.copyButton, this.removeButton);
  }

  makeSplitter() {
    const id = newId("rule");
    const rules = [["auto", "what fits the text"], ...RULES, ["own", "hand"]];
    this.chooser = make("select", { id, on: { change: () => this.ruleChosen() } },
      ...rules.map(([value, name]) => make("option", { value }, name)));
    this.count = make("label", { for: id });
    this.undoButton = button("Undo", () => this.undo(), { class: "quiet", hidden: true });
    return make("div", { class: "splitter" }, this.count, this.chooser, this.undoButton);
  }

  makeBox() {
    const toSteps = (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      this.toSteps();
    };
    // Only a paste into an empty box is split at once: who types or edits says when it is done.
    const pasted = () => this.box.value === "" && setTimeout(() => this.toSteps());
    this.box = make("textarea", {
      class: "field", rows: "5", placeholder: "Paste a solution here: it is split into steps, which you can change.",
      on: { keydown: toSteps, paste: pasted, input: () => grow(this.box) },
    });
    this.boxArea = make("div", { class: "box" }, this.box,
      button("Split into steps", () => this.toSteps(), { class: "main" }));
    return this.boxArea;
  }

  /** The name within a sentence: `solution A`. */
  get inSentence() {
    return this.name.replace("S", "s");
  }

  get texts() {
    return this.rows.map((row) => row.text);
  }

  get isEmpty() {
    return this.texts.every((text) => text === "");
  }

  /** `Solution A` and so on; the only one cannot be removed, and only so many stand side by side. */
  rename(name, { alone, full }) {
    this.name = name;
    this.heading.textContent = name;
    this.removeButton.hidden = alone;
    this.copyButton.disabled = full;
    const here = this.inSentence;
    this.box.setAttribute("aria-label", `Text of ${here}`);
    for (const [action, made] of [["the last change of", this.undoButton], ["a copy of", this.copyButton],
      ["all of", this.removeButton], ["all of", this.asText]]) {
      made.setAttribute("aria-label", `${made.textContent}: ${action} ${here}`);
    }
    this.renumber();
  }

  // From text to steps and back.

  toSteps() {
    const { steps, rule } = splitSteps(this.box.value, this.chooser.value === "own" ? "auto" : this.chooser.value);
    if (steps.length === 0) {
      this.box.focus();
      return this.page.announce("There is no text to split yet.");
    }
    this.remember();
    this.source = this.box.value;
    this.replace(steps, rule);
    this.rows[0].focus();
    return this.page.announce(`${this.name} is split into ${plural(steps.length)} by ${ruleName(rule)}.`);
  }

  toText() {
    this.box.value = this.source ?? joinSteps(this.texts, this.rule);
    this.showBox(true);
    this.stopWaiting();
    this.page.changed(this);
    grow(this.box);
    this.box.focus();
  }

  ruleChosen() {
    if (this.list.hidden) return;
    this.remember();
    this.source ??= joinSteps(this.texts, this.rule);
    const { steps, rule } = splitSteps(this.source, this.chooser.value);
    this.replace(steps, rule);
    this.page.announce(`${this.name} now has ${plural(steps.length)}.`);
  }

  /** Takes the steps as they are, as an example or a copy gives them; what was there before is gone. */
  fill(steps, { rule = "own", source = null } = {}) {
    this.past = [];
    this.undoButton.hidden = true;
    this.source = source;
    this.replace(steps, rule);
  }

  showBox(on) {
    this.boxArea.hidden = !on;
    for (const element of [this.list, this.sums, this.asText, this.copyButton]) element.hidden = on;
    this.showRule(on && this.chooser.value === "own" ? "auto" : this.chooser.value);
  }

  showRule(rule) {
    // "your own hand" cannot be chosen: it says what has happened.
    const own = this.chooser.lastElementChild;
    own.hidden = own.disabled = rule !== "own";
    const known = [...this.chooser.options].some((option) => option.value === rule);
    if (!known) own.before(make("option", { value: rule }, ruleName(rule)));
    this.chooser.value = rule;
    if (rule !== "own") this.rule = rule;
  }

  // Changes of the steps. Each ends in `changedFrom`, because a step's score depends on it and on those before it.

  /** Puts `texts` in place of all steps; those at the beginning that stay the same keep their scores. */
  replace(texts, rule) {
    let same = 0;
    while (same < texts.length && same < this.rows.length && this.rows[same].text === texts[same].trim()) same += 1;
    for (const row of this.rows.splice(same)) row.element.remove();
    this.insert(same, texts.slice(same));
    this.showRule(rule);
    this.showBox(false);
    this.changedFrom(same, { rule });
  }

  insert(index, texts) {
    const rows = texts.map((text) => new StepRow(text, this.actions));
    this.rows.splice(index, 0, ...rows);
    const before = this.list.children[index] ?? null;
    for (const row of rows) this.list.insertBefore(row.element, before);
    for (const row of rows) grow(row.area);
  }

  actions = {
    edited: (row) => this.changedFrom(this.rows.indexOf(row), { typing: true }),
    up: (row) => this.go(row, -1),
    down: (row) => this.go(row, 1),
    left: (row) => this.page.moved(this, -1, this.rows.indexOf(row)),
    right: (row) => this.page.moved(this, 1, this.rows.indexOf(row)),
    split: (row) => this.split(row),
    merge: (row) => this.merge(row),
    add: (row) => this.add(row),
    remove: (row) => this.remove(row),
  };

  go(row, by) {
    const to = this.rows[this.rows.indexOf(row) + by];
    to?.focus();
    return to !== undefined;
  }

  split(row) {
    const [before, after] = [row.area.value.slice(0, row.area.selectionStart), row.area.value.slice(row.area.selectionStart)];
    if (before.trim() === "" || after.trim() === "") {
      row.area.focus();
      return this.page.announce("Put the cursor where the next step begins, then split.");
    }
    const index = this.rows.indexOf(row);
    this.remember();
    row.text = before.trimEnd();
    this.insert(index + 1, [after.trimStart()]);
    this.changedFrom(index);
    this.rows[index + 1].focus();
    return this.page.announce(`Step ${index + 1} is now steps ${index + 1} and ${index + 2}.`);
  }

  merge(row) {
    const index = this.rows.indexOf(row);
    if (index === 0) return false;
    this.remember();
    const above = this.rows[index - 1];
    const between = above.text && row.text ? joint(this.rule).slice(0, 1) : "";
    const middle = above.text.length + between.length;
    above.text = above.text + between + row.text;
    this.rows.splice(index, 1);
    row.element.remove();
    this.changedFrom(index - 1);
    above.focus(middle);
    this.page.announce(`Steps ${index} and ${index + 1} are now step ${index}.`);
    return true;
  }

  add(row) {
    const index = this.rows.indexOf(row);
    this.remember();
    this.insert(index + 1, [""]);
    this.changedFrom(index + 1);
    this.rows[index + 1].focus();
  }

  remove(row) {
    const index = this.rows.indexOf(row);
    this.remember();
    this.rows.splice(index, 1);
    row.element.remove();
    if (this.rows.length === 0) this.insert(0, [""]);
    this.changedFrom(index);
    this.rows[Math.min(index, this.rows.length - 1)].focus();
    this.page.announce(`Step ${index + 1} is removed. Undo brings it back.`);
  }

  remember() {
    if (this.rows.length === 0) return;
    this.past = [...this.past.slice(1 - MOST_UNDONE), { texts: this.rows.map((row) => row.area.value), rule: this.chooser.value, source: this.source }];
    this.undoButton.hidden = false;
  }

  undo() {
    const { texts, rule, source } = this.past.pop();
    this.replace(texts, rule);
    this.source = source;
    this.undoButton.hidden = this.past.length === 0;
    if (this.undoButton.hidden) this.rows[0].focus();
    this.page.announce("The last change is undone.");
  }

  /** Steps from `index` on have no score any more. */
  changedFrom(index, { rule = "own", typing = false } = {}) {
    for (const row of this.rows.slice(index)) row.score = undefined;
    if (rule === "own") {
      this.source = null;
      this.showRule("own");
    }
    this.renumber();
    this.page.changed(this, { typing });
  }

  renumber() {
    this.rows.forEach((row, i) => row.number(i, this.inSentence));
    this.count.textContent = this.list.hidden ? "Split by" : `${plural(this.rows.length)}, split by`;
    this.show();
  }

  // Scores.

  /** Where there is a text to score: its steps without the empty ones; null while it is a text in a box. */
  question() {
    return this.list.hidden || this.isEmpty ? null : this.texts.filter((text) => text !== "");
  }

  /** The problem has changed: no score holds any more. */
  forget() {
    for (const row of this.rows) row.score = undefined;
    this.show();
  }

  stopWaiting() {
    Object.assign(this, { state: "idle", answer: null, failure: null });
    this.show();
  }

  startWaiting() {
    Object.assign(this, { state: "waiting", answer: null, failure: null });
    this.show();
  }

  fail(failure) {
    Object.assign(this, { state: "failed", answer: null, failure });
    this.show();
    this.page.announce(`${this.name}: ${this.summary.firstChild.textContent}`);
  }

  take(answer) {
    const scores = answer.confidences[Symbol.iterator]();
    for (const row of this.rows) row.score = row.text === "" ? undefined : scores.next().value;
    Object.assign(this, { state: "scored", answer, failure: null });
    this.show();
    this.page.announce(`${this.name} is scored: ${plural(answer.confidences.length)}, the lowest ${shown(answer.min)}. ${this.summary.textContent}`);
  }

  firstDoubtful() {
    return firstBelow(this.rows.map((row) => row.score ?? null), this.page.threshold());
  }

  show() {
    const first = this.firstDoubtful();
    const waiting = this.state === "waiting";
    this.rows.forEach((row, i) => row.show({ first: i === first, waiting }));
    for (const [name, element] of this.values) element.textContent = this.answer ? shown(this.answer[name]) : "–";
    this.sums.classList.toggle("unknown", this.answer === null);
    this.element.setAttribute("aria-busy", String(waiting));
    this.element.classList.toggle("failing", this.state === "failed");
    this.summary.replaceChildren(...this.sentence(first));
  }

  sentence(first) {
    if (this.list.hidden) return [];
    const threshold = shown(this.page.threshold());
    if (this.state === "waiting") return [this.waitingSentence()];
    if (this.state === "failed") return this.failureSentence();
    if (this.state === "idle") return [this.isEmpty ? "Write the first step." : "Give the problem above: then the steps are scored."];
    const unread = this.answer.confidences.includes(null) ? " The model cannot read it to its end: it is too long." : "";
    if (first === null) return [`No step is below ${threshold}.${unread}`];
    const link = button(`Step ${first + 1}`, () => this.rows[first].focus(), { class: "link" });
    return [link, ` is the first below ${threshold}.${unread}`];
  }

  waitingSentence() {
    const from = this.rows.findIndex((row) => row.score === undefined && row.text !== "");
    const asked = from > 0 ? `from step ${from + 1} on` : plural(this.rows.length);
    return `Scoring ${asked} …`;
  }

  failureSentence() {
    const { sentence, wait, needsKey } = this.failure;
    const when = wait === null ? "" : ` It is asked again in ${wait} ${wait === 1 ? "second" : "seconds"}.`;
    const again = button(wait === null ? "Try again" : "Try now", () => this.page.retry(this), { class: "link" });
    return [sentence + when, ...(needsKey ? [] : [" ", again])];
  }

  /** Marks the best of several; `how` names what they are compared by. */
  markBest(is, { tied = false, how = "" } = {}) {
    this.badge.hidden = !is;
    const by = make("span", { class: "unseen" }, ` by ${how}`);
    this.badge.replaceChildren(...(is ? [tied ? "Equally best" : "Best", by] : []));
    this.element.classList.toggle("best", is);
  }
}

function plural(count) {
  return count === 1 ? "1 step" : `${count} steps`;
}
