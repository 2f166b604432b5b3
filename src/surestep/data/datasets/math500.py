"""MATH-500 (MIT): problems without judged steps, to find out whether training data overlaps them."""

from __future__ import annotations

from surestep.data.datasets.dataset import Dataset, RemoteFile

DATASET = Dataset(
    name="math500",
    title="MATH-500 problems, to find out whether training data overlaps them",
    spelling="MATH-500",
    licence="MIT",
    use="problems of a test: what a model trains on is compared with them",
    page="https://huggingface.co/datasets/HuggingFaceH4/MATH-500",
    inner_folders=("data",),
    files=(RemoteFile("test.jsonl", "https://huggingface.co/datasets/HuggingFaceH4/MATH-500/resolve/main/test.jsonl"),),
)
