// One solution on the page: a text box until it is split, then its steps, their scores and what sums them up.

import { firstBelow, shown } from "./confidence.js";
import { button, grow } from "./elements.js";
import { SolutionFrame } from "./frame.js";
import { joinSteps, joint, ruleName, splitSteps } from "./split.js";
import { StepRow } from "./step.js";

const MOST_UNDONE = 50;
const NO_PROBLEM = "Give the problem above: then the steps are scored.";
const TOO_LONG = " The model cannot read it to its end: it is too long.";

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
  /** The last rule that split. */
  rule = "auto";
  /** What the list of rules shows: `rule`, or `own` where a person went on from there. */
  shownRule = "auto";
  past = [];
  name = "Solution";

  constructor(page) {
    this.page = page;
    this.frame = new SolutionFrame({
      asText: () => this.toText(),
      copy: () => page.copied(this),
      remove: () => page.removed(this),
      undo: () => this.undo(),
      chooseRule: () => this.ruleChosen(),
      toSteps: () => this.toSteps(),
    });
    this.showBox(true);
  }

  get element() {
    return this.frame.element;
  }

  /** Whether it is a text in a box, not steps. */
  get isText() {
    return this.frame.list.hidden;
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

  rename(name, limits) {
    this.name = name;
    this.frame.rename(name, this.inSentence, limits);
    this.renumber();
  }

  /** Puts the cursor into the text box, or into a step, the last one where there are fewer. */
  focus(index = 0) {
    if (this.isText) this.frame.box.focus();
    else this.rows[Math.min(index, this.rows.length - 1)].focus();
  }

  // From text to steps and back.

  toSteps() {
    const { steps, rule } = splitSteps(
      this.frame.box.value,
      this.frame.chooser.value === "own" ? "auto" : this.frame.chooser.value,
    );
    if (steps.length === 0) {
      this.frame.box.focus();
      return this.page.announce("There is no text to split yet.");
    }
    this.source = this.frame.box.value;
    this.replace(steps, rule);
    this.rows[0].focus();
    return this.page.announce(`${this.name} is split into ${plural(steps.length)} by ${ruleName(rule)}.`);
  }

  toText() {
    this.remember();
    this.frame.box.value = this.source ?? joinSteps(this.texts, this.rule);
    this.showBox(true);
    this.stopWaiting();
    this.page.changed(this);
    grow(this.frame.box);
    this.frame.box.focus();
  }

  ruleChosen() {
    if (this.isText) return;
    this.remember();
    this.source ??= joinSteps(this.texts, this.rule);
    const { steps, rule } = splitSteps(this.source, this.frame.chooser.value);
    this.replace(steps, rule);
    this.page.announce(`${this.name} now has ${plural(steps.length)}.`);
  }

  /** Takes the steps as they are, as an example or a copy gives them; what was there before is gone. */
  fill(steps, { rule = "own", source = null } = {}) {
    this.past = [];
    this.frame.undoButton.hidden = true;
    this.source = source;
    this.replace(steps, rule);
  }

  showBox(on) {
    this.frame.showBox(on);
    this.showRule(on && this.shownRule === "own" ? "auto" : this.shownRule);
  }

  showRule(rule) {
    this.shownRule = rule;
    if (rule !== "own") this.rule = rule;
    this.frame.showRule(rule);
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
    const before = this.frame.list.children[index] ?? null;
    for (const row of rows) this.frame.list.insertBefore(row.element, before);
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
    const at = row.area.selectionStart;
    const [before, after] = [row.area.value.slice(0, at), row.area.value.slice(at)];
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
    const texts = this.rows.map((row) => row.area.value);
    this.past = [...this.past.slice(1 - MOST_UNDONE), { texts, rule: this.shownRule, source: this.source }];
    this.frame.undoButton.hidden = false;
  }

  undo() {
    const { texts, rule, source } = this.past.pop();
    this.replace(texts, rule);
    this.source = source;
    this.frame.undoButton.hidden = this.past.length === 0;
    if (this.frame.undoButton.hidden) this.rows[0].focus();
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
    this.frame.count.textContent = this.isText ? "Split by" : `${plural(this.rows.length)}, split by`;
    this.show();
  }

  // Scores.

  /** Where there is a text to score: its steps without the empty ones; null while it is a text in a box. */
  question() {
    return this.isText || this.isEmpty ? null : this.texts.filter((text) => text !== "");
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
    this.page.announce(`${this.name}: ${this.frame.summary.firstChild.textContent}`);
  }

  take(answer) {
    const scores = answer.confidences[Symbol.iterator]();
    for (const row of this.rows) row.score = row.text === "" ? undefined : scores.next().value;
    Object.assign(this, { state: "scored", answer, failure: null });
    this.show();
    const numbers = `${plural(answer.confidences.length)}, the lowest ${shown(answer.min)}`;
    this.page.announce(`${this.name} is scored: ${numbers}. ${this.frame.summary.textContent}`);
  }

  firstDoubtful() {
    const known = this.rows.map((row) => row.score ?? null);
    return firstBelow(known, this.page.threshold());
  }

  show() {
    const first = this.firstDoubtful();
    const waiting = this.state === "waiting";
    this.rows.forEach((row, i) => row.show({ first: i === first, waiting }));
    this.frame.showState({ state: this.state, answer: this.answer, sentence: this.sentence(first) });
  }

  sentence(first) {
    if (this.isText) return [];
    const threshold = shown(this.page.threshold());
    if (this.state === "waiting") return [this.waitingSentence()];
    if (this.state === "failed") return this.failureSentence();
    if (this.state === "idle") return [this.isEmpty ? "Write the first step." : NO_PROBLEM];
    const unread = (this.answer.confidences.includes(null) ? TOO_LONG : "") + certifiedSentence(this.answer.certified);
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
}

/** What the model's certificate says; nothing where it has none, which leaves the field out. */
function certifiedSentence(certified) {
  if (certified === undefined) return "";
  if (certified === null) return " The model's certificate does not speak of this solution.";
  const kept = certified.num_kept === 0 ? "no step is kept" : `the first ${plural(certified.num_kept)} kept`;
  return ` Certified: ${kept} (${certified.promise}).`;
}

function plural(count) {
  return count === 1 ? "1 step" : `${count} steps`;
}
