// What is shown of confidences: numbers as text, colours, the first doubtful step, the best solution.

/** Two places, cut and not rounded: a step at 0.4999 never reads as 0.50, and one below 1 never as 1.00. */
export function shown(value) {
  if (value === null) return "–";
  if (value > 0 && value < 0.01) return "<0.01";
  return (Math.floor(value * 100 + 1e-9) / 100).toFixed(2);
}

/** The class of a colour: q0 (certainly wrong) to q10 (certainly right). */
export function colour(value) {
  return `q${Math.min(10, Math.floor(value * 11))}`;
}

/** The index of the first confidence below `threshold`; null where there is none. */
export function firstBelow(confidences, threshold) {
  const index = confidences.findIndex((value) => value !== null && value < threshold);
  return index < 0 ? null : index;
}

/** The indices of the highest of `values`, of which null takes no part; none where fewer than two do. */
export function best(values) {
  const known = values.filter((value) => value !== null);
  if (known.length < 2) return [];
  const highest = Math.max(...known);
  return values.flatMap((value, i) => (value === highest ? [i] : []));
}
