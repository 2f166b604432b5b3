// Stretches of a text that belong together whatever stands in them: fenced code, displayed formulas. The same as
// `surestep.data.trees.text_regions`; a test compares them.

const FENCE = /(?:^|(?<=\n)) {0,3}(?<fence>`{3,}|~{3,})(?<info>[^\n]*)/g;
const DELIMITER = /(?<!\\)(?:\\\\)*(?:(?<sign>\$\$|\\\[|\\\])|\\(?<what>begin|end)\{(?<name>[A-Za-z]+\*?)\})/g;

/** Fenced code, `$$…$$`, `\[…\]` and LaTeX environments as `[start, end]`, in order; an open formula is none. */
export function wholeRegions(text) {
  const fences = findFences(text);
  return merged(
    [...fences, ...findFormulas(text, fences)].sort((one, other) => one[0] - other[0] || one[1] - other[1]),
  );
}

export function inside(regions, place) {
  return regions.some(([start, end]) => start <= place && place < end);
}

function findFences(text) {
  const found = [];
  let opened = null;
  for (const line of text.matchAll(FENCE)) {
    const { fence, info } = line.groups;
    if (opened === null) {
      if (fence[0] === "~" || !info.includes("`")) opened = { start: line.index, fence };
    } else if (fence[0] === opened.fence[0] && fence.length >= opened.fence.length && info.trim() === "") {
      found.push([opened.start, line.index + line[0].length]);
      opened = null;
    }
  }
  return opened === null ? found : [...found, [opened.start, text.length]];
}

/** Pairs of delimiters of a kind, found with a stack for each kind. */
function findFormulas(text, fences) {
  const found = [];
  const opened = new Map();
  for (const mark of text.matchAll(DELIMITER)) {
    const { sign, what, name } = mark.groups;
    const end = mark.index + mark[0].length;
    const start = sign ? end - sign.length : end - `\\${what}{${name}}`.length;
    if (inside(fences, start)) continue;
    const kind = sign === "\\]" ? "\\[" : (sign ?? name);
    const places = opened.get(kind) ?? [];
    const closes = sign === "\\]" || what === "end" || (kind === "$$" && places.length > 0);
    if (closes && places.length > 0) found.push([places.pop(), end]);
    // A second \[ before any \] starts anew; environments lie within each other.
    else if (!closes) opened.set(kind, name ? [...places, start] : [start]);
  }
  return found;
}

function merged(spans) {
  const result = [];
  for (const [start, end] of spans) {
    const last = result.at(-1);
    if (last && start < last[1]) last[1] = Math.max(last[1], end);
    else result.push([start, end]);
  }
  return result;
}
