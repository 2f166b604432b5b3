// The page's questions to its own server. An answer that does not fit is a failure, in a plain sentence.

const AGGREGATES = ["min", "product", "mean", "last"];
const KEY = "surestep-api-key";

/** A question without an answer: `sentence` for people, `wait` seconds until the next try, `needsKey`. */
export class Failure extends Error {
  constructor(sentence, { wait = null, needsKey = false } = {}) {
    super(sentence);
    this.sentence = sentence;
    this.wait = wait;
    this.needsKey = needsKey;
  }
}

let keyInMemory = "";

/** The API key lives in this tab only; where the browser keeps nothing for a tab, until the page is left. */
export const apiKey = {
  get() {
    try {
      return sessionStorage.getItem(KEY) ?? keyInMemory;
    } catch {
      return keyInMemory;
    }
  },
  set(value) {
    keyInMemory = value;
    try {
      if (value) sessionStorage.setItem(KEY, value);
      else sessionStorage.removeItem(KEY);
    } catch {
      // The key is in memory.
    }
  },
};

/** The scores of one solution: `{confidences, min, product, mean, last}`; raises Failure, or AbortError by `signal`. */
export async function scoreSteps(problem, steps, signal) {
  const response = await ask("v1/steps", { method: "POST", body: JSON.stringify({ problem, steps }), signal });
  const answer = await json(response);
  if (!response.ok) throw failureOf(response, answer);
  if (!fits(answer, steps.length))
    throw new Failure("The server’s answer does not fit the question. Is it a Surestep server?");
  return answer;
}

/** What the server says of its model, as plain names and values; none where it says nothing. */
export async function modelFacts() {
  const model = (await known("health"))?.model ?? (await known("v1/about"))?.model;
  const plain = ([, value]) => ["string", "number", "boolean"].includes(typeof value);
  return Object.entries(model ?? {}).filter(plain);
}

async function known(path) {
  try {
    const response = await ask(path, {});
    return response.ok ? await json(response) : null;
  } catch {
    return null;
  }
}

/** The examples that come with the page. */
export async function examples() {
  const response = await fetch("page/examples.json");
  return response.ok ? (await response.json()).examples : [];
}

async function ask(path, options) {
  const headers = options.body ? { "Content-Type": "application/json" } : {};
  if (apiKey.get()) headers.Authorization = `Bearer ${apiKey.get()}`;
  try {
    return await fetch(path, { ...options, headers, credentials: "omit", cache: "no-store", redirect: "error" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The server cannot be reached. Is it still running?");
  }
}

async function json(response) {
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return null;
  }
}

function isConfidence(value) {
  return value === null || (typeof value === "number" && value >= 0 && value <= 1);
}

function fits(answer, count) {
  const values = answer?.confidences;
  if (!Array.isArray(values) || values.length !== count || !values.every(isConfidence)) return false;
  return AGGREGATES.every((name) => isConfidence(answer[name])) && isCertified(answer.certified);
}

function isCertified(part) {
  if (part === undefined || part === null) return true;
  return Number.isInteger(part.num_kept) && part.num_kept >= 0 && typeof part.promise === "string";
}

function failureOf(response, answer) {
  const message = typeof answer?.error?.message === "string" ? answer.error.message.trim() : "";
  const said = message ? ` It says: ${/[.!?]$/.test(message) ? message : `${message}.`}` : "";
  const { status } = response;
  if (status === 401 || status === 403) {
    const first = apiKey.get() ? "The server does not accept this API key." : "The server asks for an API key.";
    return new Failure(`${first} Please enter it above.`, { needsKey: true });
  }
  if (status === 429) return new Failure("The server is busy.", { wait: waitOf(response) ?? 2 });
  if (status === 503)
    return new Failure(`The server is not ready: it starts or stops.${said}`, { wait: waitOf(response) ?? 5 });
  if (status === 413) return new Failure(`The text is too long for this server.${said}`);
  if (status === 408 || status === 504) return new Failure(`The server did not finish in time.${said}`);
  if (status >= 500) return new Failure(`The server failed (status ${status}).${said}`);
  return new Failure(`The server refuses this text (status ${status}).${said}`);
}

/** Seconds of `Retry-After`, which is a number of seconds or a date; at most ten minutes. */
function waitOf(response) {
  const value = response.headers.get("Retry-After");
  if (value === null) return null;
  const seconds = /^\d+$/.test(value.trim()) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return Number.isNaN(seconds) ? null : Math.min(Math.max(Math.ceil(seconds), 1), 600);
}
