// From the raw text of a solution to its steps. The text of a step is kept as it stands; white space around it is not.

/** Every rule, in the order in which `auto` tries them; `own` marks steps that a person has edited. */
export const RULES = new Map([
  ["headings", "“Step 1:”, “Step 2:” …"],
  ["numbers", "numbers: 1. 2. …"],
  ["blank-lines", "blank lines"],
  ["lines", "lines"],
  ["sentences", "sentences"],
  ["whole", "nothing: one step"],
]);

const HEADING = /^[ \t]*(?:[#>*_]+[ \t]*)*step[ \t]+(\d{1,4})\b/gim;
const NUMBER = /^[ \t]*(?:\*\*)?\(?(\d{1,3})[.)](?:\*\*)?[ \t]+/gm;
const BETWEEN = { "blank-lines": /\n[ \t]*\n/, lines: /\n/ };
const JOINED_BY = { lines: "\n", sentences: " " };

/** The steps of a text by one rule: no empty ones. */
function splitBy(text, rule) {
  if (rule === "headings") return cutBefore(text, HEADING);
  if (rule === "numbers") return cutBefore(text, NUMBER);
  if (rule === "sentences") return sentences(text);
  if (rule in BETWEEN) return text.split(BETWEEN[rule]);
  return [text];
}

/** Cuts before every match; what stands before the first is a step of its own. */
function cutBefore(text, pattern) {
  const starts = [...text.matchAll(pattern)].map((match) => match.index);
  return [0, ...starts].map((start, i) => text.slice(start, starts[i] ?? text.length));
}

function sentences(text) {
  if (typeof Intl.Segmenter !== "function") return [text];
  return Array.from(new Intl.Segmenter("en", { granularity: "sentence" }).segment(text), (part) => part.segment);
}

/** Whether a numbered rule is meant: two or more marks that count 1, 2, 3 … */
function counts(text, pattern) {
  const numbers = [...text.matchAll(pattern)].map((match) => Number(match[1]));
  return numbers.length > 1 && numbers.every((number, i) => number === i + 1);
}

function found(text) {
  if (counts(text, HEADING)) return "headings";
  if (counts(text, NUMBER)) return "numbers";
  const several = (rule) => clean(splitBy(text, rule)).length > 1;
  return ["blank-lines", "lines", "sentences"].find(several) ?? "whole";
}

function clean(parts) {
  return parts.map((part) => part.trim()).filter((part) => part !== "");
}

/** Splits `text` by a rule of RULES, or by the one that `auto` finds: `{steps, rule}`. */
export function splitSteps(text, rule = "auto") {
  const plain = text.replace(/\r\n?/g, "\n").trim();
  const used = rule === "auto" ? found(plain) : rule;
  return { steps: clean(splitBy(plain, used)), rule: used };
}

/** One text of steps, which the same rule splits again. */
export function joinSteps(steps, rule) {
  return steps.join(JOINED_BY[rule] ?? "\n\n");
}
