"""Confidences of a TF-IDF logistic regression for ProcessBench, as `surestep benchmark processbench` reads them.

    python benchmarks/tfidf_first_errors.py OUT --train phase1_train.jsonl --data gsm8k.json \\
        --threshold_data phase1_test.jsonl
    surestep benchmark processbench --data gsm8k.json --predictions OUT \\
        --threshold-data phase1_test.jsonl --threshold-format prm800k

A floor that reads words and no mathematics: features of the step, the step before it and the problem, trained on
PRM800K's labelled steps (a label of at least 0.5 is right). The same file holds the confidences for the data that the
threshold is chosen on, one line a tree there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

from scipy.sparse import hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from surestep.data.datasets.prm800k import read_prm800k
from surestep.data.datasets.processbench import read_solutions, subset_name
from surestep.data.records.reading_report import ReadReport
from surestep.types import ROOT, ReasoningTree

Texts = tuple[list[str], list[str], list[str]]


def texts_of(trees: Iterable[ReasoningTree]) -> Texts:
    """Of every node: the step, the step before it ("" for a first one), the problem."""
    steps, before, problems = [], [], []
    for tree in trees:
        for node in tree.nodes:
            steps.append(node.text)
            before.append("" if node.parent == ROOT else tree.nodes[node.parent].text)
            problems.append(tree.problem)
    return steps, before, problems


def main() -> None:
    """Fit, score, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--train", type=Path, required=True, help="PRM800K")
    parser.add_argument("--data", type=Path, required=True, help="a ProcessBench subset")
    parser.add_argument("--threshold_data", type=Path, required=True, help="PRM800K")
    args = parser.parse_args()

    train = list(read_prm800k(args.train, report=ReadReport()))
    labels = [node.confidence for tree in train for node in tree.nodes]
    labelled = [index for index, label in enumerate(labels) if label is not None]
    vectorizers = [TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True) for _ in range(3)]
    columns = texts_of(train)
    fitted = hstack([v.fit_transform([c[i] for i in labelled]) for v, c in zip(vectorizers, columns, strict=True)])
    model = LogisticRegression(max_iter=1000).fit(fitted.tocsr(), [labels[i] >= 0.5 for i in labelled])

    evaluated = [solution.tree for solution in read_solutions(args.data, report=ReadReport())]
    others = list(read_prm800k(args.threshold_data, report=ReadReport()))
    with args.out.open("w", encoding="utf-8") as file:
        for path, trees in ((args.data, evaluated), (args.threshold_data, others)):
            features = hstack([v.transform(c) for v, c in zip(vectorizers, texts_of(trees), strict=True)])
            found = iter(model.predict_proba(features.tocsr())[:, 1].tolist())
            for tree in trees:
                row = {"subset": subset_name(path), "id": tree.id, "confidences": [next(found) for _ in tree.nodes]}
                file.write(json.dumps(row) + "\n")
    print(f"{len(labelled):,} labelled steps; wrote {args.out}")


if __name__ == "__main__":
    main()
