"""PRMBench: solutions with errors written into them, as a set that can be fetched.

Its rows are read by its own benchmark alone (`surestep.data.benchmarks.prmbench`), which needs their classes.
"""

from __future__ import annotations

from surestep.data.datasets.dataset import Dataset, RemoteFile

DATASET = Dataset(
    name="prmbench",
    title="solutions with errors of nine kinds written into them, every wrong step named",
    spelling="PRMBench",
    licence="Apache-2.0 by its card",
    use="a test, read by `surestep benchmark prmbench`",
    page="https://huggingface.co/datasets/hitsmy/PRMBench_Preview",
    language="en",
    files=(
        RemoteFile(
            "prmbench_preview.jsonl",
            "https://huggingface.co/datasets/hitsmy/PRMBench_Preview/resolve/main/prmbench_preview.jsonl",
        ),
    ),
)
