// From the raw text of a solution to its steps: the rules of `surestep.split_steps`; a test compares them. The text of
// a step is kept as it stands; white space around it is not.

import { inside, wholeRegions } from "./regions.js";

/** Every rule with its name for people, in the order in which `auto` tries them. */
export const RULES = new Map([
  ["step", "“Step 1:”, “Step 2:” …"],
  ["numbered", "numbers: 1. 2. …"],
  ["blank_lines", "blank lines"],
  ["lines", "lines"],
  ["sentences", "sentences"],
]);

/** How a rule begins that splits at a given text, which belongs to no step. */
const TAG = "tag:";
/** What process reward models put behind a step. */
const KNOWN_TAG = /<extra_\d+>/;

// Lines end with \n alone: that is how text areas give their text. `(?=(x*))\k` takes all of x* and never gives back,
// so that each search takes time in proportion to the text.
const INDENT = "(?:^|(?<=\\n))(?=(?<indent>[ \\t]*))\\k<indent>";
const STEP = new RegExp(
  `${INDENT}[#>*_\\- \\t]*step[ \\t]*(?<number>\\d{1,4})(?:[*_]{1,3})?[ \\t]*[:.)\\u2013\\u2014-]`,
  "gi",
);
const NUMBER = new RegExp(`${INDENT}(?:\\*\\*)?(?<number>\\d{1,4})[.)](?:\\*\\*)?[ \\t]+(?=[^ \\t\\n])`, "g");
const SENTENCE_END = /(?<![.!?])[.!?]+(?![.!?])["'”’)\]]*(?=[ \t\n])|[。！？]+[”」』]?/g;
/** A full stop behind which a sentence goes on: an abbreviation, the number of an item. */
const NOT_AN_END = new RegExp(
  "(?:(?<![\\p{L}\\p{N}_])" +
    "(?:e\\.g|i\\.e|cf|vs|etc|approx|resp|Dr|Mr|Mrs|Ms|Prof|St|Fig|Figs|Eq|Eqs|No|Nos|Thm|Sec|Ch)" +
    "|(?:^|(?<=\\n))[ \\t]{0,6}\\d{1,4})\\.$",
  "u",
);
const LONGEST_ABBREVIATION = 12;
/** A rule's joint puts steps together so that the rule splits them again. */
const JOINTS = { lines: "\n", sentences: " " };

const STARTS = {
  step: (text) => marks(text, STEP),
  numbered: (text) => marks(text, NUMBER),
  blank_lines: (text) => behind(text, /\n[ \t]*\n/g),
  lines: (text) => behind(text, /\n/g),
  sentences: behindSentences,
};

/** Where marks stand that count on from the first, 0 or 1, each indented as it is. */
function marks(text, pattern) {
  const regions = wholeRegions(text);
  const found = [];
  let next = null;
  for (const mark of text.matchAll(pattern)) {
    const number = Number(mark.groups.number);
    const fits = next ? number === next.number && mark.groups.indent === next.indent : number <= 1;
    if (!fits || inside(regions, mark.index)) continue;
    next = { number: number + 1, indent: mark.groups.indent };
    found.push(mark.index);
  }
  return found.length > 1 ? found : [];
}

function behind(text, pattern) {
  const regions = wholeRegions(text);
  return [...text.matchAll(pattern)]
    .filter((match) => !inside(regions, match.index))
    .map((match) => match.index + match[0].length);
}

function behindSentences(text) {
  return behind(text, SENTENCE_END).filter((end) => {
    const before = text.slice(Math.max(0, end - LONGEST_ABBREVIATION), end);
    const following = [...text.slice(end, end + 64).replace(/^[ \t\n]+/, "")][0] ?? "";
    const goesOn = following.toUpperCase() !== following && following.toLowerCase() === following;
    return !goesOn && !(before.endsWith(".") && NOT_AN_END.test(before));
  });
}

function splitBy(text, rule) {
  const starts = rule.startsWith(TAG) ? [] : [0, ...STARTS[rule](text), text.length];
  const pieces = rule.startsWith(TAG)
    ? text.split(rule.slice(TAG.length))
    : starts.slice(1).map((end, i) => text.slice(starts[i], end));
  return pieces.map((piece) => piece.trim()).filter((step) => step !== "");
}

/** Splits `text` by a rule, or by the first that finds two steps or more, a tag before all: `{steps, rule}`. */
export function splitSteps(text, rule = "auto") {
  if (rule !== "auto") return { steps: splitBy(text, rule), rule };
  const tag = text.match(KNOWN_TAG)?.[0];
  if (tag) return splitSteps(text, TAG + tag);
  const used = [...RULES.keys()].find((name) => splitBy(text, name).length > 1) ?? "sentences";
  return { steps: splitBy(text, used), rule: used };
}

/** The name of a rule for people. */
export function ruleName(rule) {
  return RULES.get(rule) ?? rule.slice(TAG.length);
}

/** One text of two steps or more, which the same rule splits again. */
export function joinSteps(steps, rule) {
  return steps.join(joint(rule));
}

/** What stands between two steps of a rule. */
export function joint(rule) {
  return rule.startsWith(TAG) ? `\n${rule.slice(TAG.length)}\n` : (JOINTS[rule] ?? "\n\n");
}
