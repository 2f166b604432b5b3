// The page: its problem, its solutions, and when they are scored.

import { best, shown } from "./confidence.js";
import { Candidate } from "./candidate.js";
import { button, grow, make } from "./elements.js";
import { apiKey, examples, Failure, modelFacts, scoreSteps } from "./server.js";

const MOST_CANDIDATES = 4;
/** What is typed is scored this many milliseconds after the last key press; every other change at once. */
const PAUSE_MS = 300;
/** Announcements that follow each other within so many milliseconds are read together. */
const TOGETHER_MS = 500;
/** After so many refusals in a row the page waits for a person. */
const MOST_TRIES = 5;

const $ = (id) => document.getElementById(id);
const candidates = [];
/** For each solution, the question under way: `{timer, abort, tries}`. Only the newest counts. */
const asked = new WeakMap();
let announced = -TOGETHER_MS;

const page = {
  threshold: () => Number($("threshold").value),
  announce,
  changed: (candidate, { typing = false } = {}) => schedule(candidate, typing ? PAUSE_MS : 0),
  retry: (candidate) => schedule(candidate, 0),
  copied: (candidate) => {
    const copy = addCandidate(candidates.indexOf(candidate) + 1);
    const texts = candidate.rows.map((row) => row.area.value);
    copy.fill(texts, { rule: candidate.shownRule, source: candidate.source });
    copy.focus();
    page.announce(`${copy.name} is a copy of ${candidate.inSentence}.`);
  },
  removed: (candidate) => {
    forgetQuestion(candidate);
    candidates.splice(candidates.indexOf(candidate), 1);
    candidate.element.remove();
    rename();
    page.announce(`${candidate.name} is removed.`);
    $("add-candidate").focus();
  },
  moved: (candidate, by, index) => {
    const other = candidates[candidates.indexOf(candidate) + by];
    if (!other) return false;
    other.focus(index);
    return true;
  },
};

/** Says something to screen readers; what follows at once is added, so that none of it is lost. */
function announce(text) {
  const now = performance.now();
  $("status").textContent = now - announced < TOGETHER_MS ? `${$("status").textContent} ${text}` : text;
  announced = now;
}

function addCandidate(index = candidates.length) {
  const candidate = new Candidate(page);
  candidates.splice(index, 0, candidate);
  $("candidates").insertBefore(candidate.element, $("candidates").children[index] ?? null);
  rename();
  return candidate;
}

function rename() {
  const full = candidates.length >= MOST_CANDIDATES;
  const limits = { alone: candidates.length === 1, full };
  candidates.forEach((candidate, i) => candidate.rename(`Solution ${"ABCD"[i]}`, limits));
  $("candidates").dataset.count = candidates.length;
  $("add-candidate").disabled = full;
  $("add-candidate").textContent = full ? "Four solutions stand side by side at most" : "Add a solution to compare";
  $("best-control").hidden = candidates.length < 2;
  compare();
}

function forgetQuestion(candidate) {
  const former = asked.get(candidate);
  clearTimeout(former?.timer);
  former?.abort.abort();
  asked.delete(candidate);
}

/** Scores a solution after `wait` milliseconds, in place of any question that is under way. */
function schedule(candidate, wait, tries = 0) {
  forgetQuestion(candidate);
  const steps = candidate.question();
  const problem = $("problem").value.trim();
  if (steps === null || problem === "") {
    candidate.stopWaiting();
    return compare();
  }
  const question = { abort: new AbortController(), tries };
  question.timer = setTimeout(() => ask(candidate, question, problem, steps), wait);
  asked.set(candidate, question);
  if (tries === 0) candidate.startWaiting();
  return compare();
}

async function ask(candidate, question, problem, steps) {
  if (question.tries > 0) candidate.startWaiting();
  try {
    const answer = await scoreSteps(problem, steps, question.abort.signal);
    if (asked.get(candidate) === question) candidate.take(answer);
  } catch (error) {
    if (asked.get(candidate) !== question) return;
    refused(candidate, question, error);
  }
  compare();
}

function refused(candidate, question, error) {
  const known = error instanceof Failure;
  if (!known) console.error(error);
  const failure = known ? error : new Failure("Something went wrong on this page.");
  const again = failure.wait !== null && question.tries < MOST_TRIES;
  if (!again) failure.wait = null;
  if (again) schedule(candidate, failure.wait * 1000, question.tries + 1);
  candidate.fail(failure);
  if (failure.needsKey) openKeyForm(true);
}

/** Marks the best solution once all that have steps are scored. */
function compare() {
  const choice = $("best-by");
  const open = candidates.some((candidate) => candidate.state === "waiting");
  const values = candidates.map((candidate) => (open ? null : (candidate.answer?.[choice.value] ?? null)));
  const chosen = best(values);
  const how = choice.selectedOptions[0].textContent;
  candidates.forEach((candidate, i) => candidate.frame.markBest(chosen.includes(i), { tied: chosen.length > 1, how }));
  $("candidates").dataset.by = candidates.length > 1 ? choice.value : "min";
}

function openKeyForm(open) {
  $("key-form").hidden = !open;
  $("key-toggle").setAttribute("aria-expanded", String(open));
  if (open) $("key").focus();
}

function useKey(event) {
  event.preventDefault();
  const key = $("key").value.trim();
  const fits = /^[\x21-\x7e]+$/.test(key);
  $("key").setAttribute("aria-invalid", String(!fits));
  $("key-note").textContent = fits
    ? "It is kept in this tab until you close it, and is sent to this server only."
    : "A key is one word of Latin letters, digits and signs. Please paste it again.";
  if (!fits) return page.announce($("key-note").textContent);
  apiKey.set(key);
  $("key").value = "";
  openKeyForm(false);
  $("key-toggle").focus();
  page.announce("The key is used from now on.");
  candidates.forEach((candidate) => schedule(candidate, 0));
  return showModel();
}

function problemChanged() {
  grow($("problem"));
  for (const candidate of candidates) {
    candidate.forget();
    schedule(candidate, PAUSE_MS);
  }
}

function choose(example) {
  while (candidates.length > example.candidates.length) {
    const last = candidates.pop();
    forgetQuestion(last);
    last.element.remove();
  }
  while (candidates.length < example.candidates.length) addCandidate();
  rename();
  $("problem").value = example.problem;
  grow($("problem"));
  candidates.forEach((candidate, i) => {
    candidate.fill(example.candidates[i]);
    candidate.forget();
    schedule(candidate, 0);
  });
  page.announce(`The example “${example.title}” is chosen.`);
}

async function showExamples() {
  const list = await examples().catch(() => []);
  $("examples").append(...list.map((example) => button(example.title, () => choose(example), { class: "chip" })));
  $("examples").hidden = list.length === 0;
}

/** What the server says of its model: the plain facts, as they come. */
async function showModel() {
  const facts = await modelFacts();
  const rows = facts.map(([name, value]) => [make("dt", {}, name.replaceAll("_", " ")), make("dd", {}, String(value))]);
  $("model-facts").replaceChildren(...rows.flat());
  $("model").hidden = facts.length === 0;
}

function thresholdChanged() {
  $("threshold-value").textContent = shown(page.threshold());
  candidates.forEach((candidate) => candidate.show());
}

$("problem").addEventListener("input", problemChanged);
$("threshold").addEventListener("input", thresholdChanged);
$("best-by").addEventListener("change", compare);
$("add-candidate").addEventListener("click", () => addCandidate().focus());
$("key-toggle").addEventListener("click", () => openKeyForm($("key-form").hidden));
$("key-form").addEventListener("submit", useKey);
$("key-forget").addEventListener("click", () => {
  apiKey.set("");
  openKeyForm(false);
  page.announce("The key is forgotten.");
  $("key-toggle").focus();
});
addCandidate();
showExamples();
showModel();
