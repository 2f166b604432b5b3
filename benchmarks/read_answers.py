"""How many answers are read right where they stand in a text: MATH-500's gold answers, GSM8K's judged solutions.

    python benchmarks/read_answers.py MATH500/test.jsonl GSM8K/example_model_solutions.jsonl

Each gold answer is put into sentences; it is read right where the answer that is found is equivalent to it. Then
MATH-500's own solutions with every box taken off, which often end with other mathematics than their answer; and GSM8K's
solutions, which are read right where the judgement that the file gives follows.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

from surestep.data.benchmarks.answers import comparison, equivalent
from surestep.data.benchmarks.final_answer import written_answer

SENTENCES: dict[str, Callable[[str], str]] = {
    "So it is $\\boxed{A}$.": lambda a: f"So it is $\\boxed{{{a}}}$.",
    "the same, Unicode minus": lambda a: f"So it is $\\boxed{{{a.replace('-', '−')}}}$.",
    "So the answer is A.": lambda a: f"We add 3 and 4. So the answer is {a}.",
    "So the answer is $A$.": lambda a: f"We add 3 and 4. So the answer is ${a}$.",
    "#### A": lambda a: f"We add 3 and 4.\n#### {a}",
    "#### Step 1 ... #### Step 2 ... The answer is A.": lambda a: (
        f"#### Step 1: Set up\nAdd 3 and 4.\n#### Step 2: Conclude\nThe answer is {a}."
    ),
    "Adding 3 and 4, we get A.": lambda a: f"Adding 3 and 4, we get {a}.",
    "the same, Unicode minus (2)": lambda a: f"Adding 3 and 4, we get {a.replace('-', '−')}.",
    "Adding 3 and 4, we get $A$.": lambda a: f"Adding 3 and 4, we get ${a}$.",
    "\\[A\\]": lambda a: f"Adding, we get\n\\[{a}\\]",
    "**Answer:** A": lambda a: f"We add 3 and 4.\n\n**Answer:** {a}",
    "### Final Answer, then $A$": lambda a: f"We add 3 and 4.\n\n### Final Answer\n\n${a}$",
    "A: A": lambda a: f"We add 3 and 4.\nA: {a}",
    "So $3 + 4 = A$.": lambda a: f"So $3 + 4 = {a}$.",
}
SYSTEMS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")


def is_read(text: str, answer: str) -> bool:
    """Whether the answer that is found in a text is the one that stands there."""
    found = written_answer(text)
    return found is not None and equivalent(found, answer)


def without_boxes(text: str) -> str:
    r"""A solution with `A` in place of each `\boxed{A}`."""
    while box := re.search(r"\\(?:boxed|fbox)\s*(\{)?", text):
        rest = text[box.end() :]
        end = len(rest) if box[1] is None else _closing_brace(rest)
        text = text[: box.start()] + rest[:end] + rest[end + 1 :]
    return text


def _closing_brace(text: str) -> int:
    depth = 0
    for place, sign in enumerate(text):
        depth += (sign == "{") - (sign == "}")
        if depth < 0:
            return place
    return len(text)


def main() -> None:
    """Print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("math500", type=Path)
    parser.add_argument("gsm8k", type=Path)
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.math500.read_text("utf-8").splitlines()]
    print(comparison())
    for name, sentence in SENTENCES.items():
        missed = [row["answer"] for row in rows if not is_read(sentence(row["answer"]), row["answer"])]
        print(f"{len(rows) - len(missed):4} of {len(rows)}  {name}  {missed[:3] if missed else ''}")
    missed = [row["unique_id"] for row in rows if not is_read(without_boxes(row["solution"]), row["answer"])]
    print(f"{len(rows) - len(missed):4} of {len(rows)}  MATH-500's solutions without their boxes  {missed}")
    begun, agree, total = time.perf_counter(), 0, 0
    for row in map(json.loads, args.gsm8k.read_text("utf-8").splitlines()):
        gold = written_answer(row["ground_truth"])
        for system in SYSTEMS:
            total += 1
            agree += is_read(row[system]["solution"], gold or "") is row[system]["is_correct"]
    print(f"{agree} of {total} judgements of GSM8K's solutions follow, in {time.perf_counter() - begun:.1f} s")


if __name__ == "__main__":
    main()
