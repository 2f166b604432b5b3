"""The public datasets: licence, official files with size and checksum, and how to get each.

Knows addresses; downloads nothing. A size or checksum that nobody could verify is None, never invented.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One official file.

    Attributes:
        name: its name on disk.
        url: where it is, or None where it cannot be downloaded without a person's agreement.
        num_bytes: its exact size, or None where unknown.
        sha256: its checksum, or None where unknown: then nothing but its completeness can be checked.
    """

    name: str
    url: str | None
    num_bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """A public dataset.

    Attributes:
        name: its name in the configuration and its folder's under `data_dir`.
        title: what it is, in one line.
        licence: its licence and what that asks of the user.
        page: where people read about it.
        files: its official files.
        by_hand: what to do where it cannot be downloaded; empty where it can.
    """

    name: str
    title: str
    licence: str
    page: str
    files: tuple[RemoteFile, ...]
    by_hand: str = ""


_PRM800K = "https://media.githubusercontent.com/media/openai/prm800k/main/prm800k/data/"
_DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="
_PROCESSBENCH = "https://huggingface.co/datasets/Qwen/ProcessBench/resolve/main/"

CATALOGUE: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            "prm800k",
            "mathematics, every step of a solution judged by people",
            "MIT",
            "https://github.com/openai/prm800k",
            (
                RemoteFile(
                    "phase1_train.jsonl",
                    _PRM800K + "phase1_train.jsonl",
                    7_900_236,
                    "e9da6a73f827ffb9a8c0dc644c541d34ed76b3d4d1e4896ff5f7b37ddf5ae34d",
                ),
                RemoteFile(
                    "phase1_test.jsonl",
                    _PRM800K + "phase1_test.jsonl",
                    829_105,
                    "f4b3bc5b095e45c816453dc4d748b755c680d61d55f9895d929a335b487c727d",
                ),
                RemoteFile(
                    "phase2_train.jsonl",
                    _PRM800K + "phase2_train.jsonl",
                    456_135_365,
                    "1110237feeb51d1bc200cb37b8f965cfdc1036eac7d506094049366fe7dc1089",
                ),
                RemoteFile(
                    "phase2_test.jsonl",
                    _PRM800K + "phase2_test.jsonl",
                    12_240_719,
                    "6b172efa884ac8341a946dd82e06947c135b7254109fb3f7aa907c715d98aaad",
                ),
            ),
        ),
        Dataset(
            "eqasc",
            "two-fact explanations of science answers, judged by the crowd",
            "CC BY 4.0 (name the authors: Jhamtani and Clark, 2020)",
            "https://github.com/harsh19/Reasoning-Chains-MultihopQA",
            (
                RemoteFile(
                    "eqasc_train_grc.json",
                    _DRIVE + "13AaSCgbRsqIxvmP-bBZpenvWaAQLs15G",
                    sha256="7603e5c908f4d0baac66f8288b2d6351eaa60d3ded2ea55f9f35b655dbbe0e26",
                ),
                RemoteFile(
                    "eqasc_dev_grc.json",
                    _DRIVE + "1lllyoJLza2k5k8AlDVxJFHSl_pJRzFQb",
                    sha256="515a34a92c4e69d54939d4b1c3c07fd17eb319d42b7cd0daf7fcfe81f372df8b",
                ),
                RemoteFile(
                    "eqasc_test_grc.json",
                    _DRIVE + "16jyHtTtSV_lb-RVZJZLi-HL8DI73XU0w",
                    sha256="524ecab20b0f635ab1d95d5ce437413c484c6280bfed5806e61c234f1f8c63b8",
                ),
            ),
        ),
        Dataset(
            "reveal",
            "answers to open-domain questions, each step judged against evidence",
            "CC BY-ND 4.0, by agreement; its card permits it as a test set, not as a training set",
            "https://huggingface.co/datasets/google/reveal",
            (RemoteFile("reveal_eval.csv", None), RemoteFile("reveal_open.csv", None)),
            by_hand="agree to the terms on its page while logged in, then download eval/reveal_eval.csv",
        ),
        Dataset(
            "processbench",
            "solutions with the index of their first wrong step; a test, not for training",
            "Apache-2.0",
            "https://huggingface.co/datasets/Qwen/ProcessBench",
            tuple(
                RemoteFile(f"{subset}.json", f"{_PROCESSBENCH}{subset}.json")
                for subset in ("gsm8k", "math", "olympiadbench", "omnimath")
            ),
        ),
        Dataset(
            "math500",
            "MATH-500 problems, to find out whether training data overlaps them",
            "MIT",
            "https://huggingface.co/datasets/HuggingFaceH4/MATH-500",
            (
                RemoteFile(
                    "test.jsonl",
                    "https://huggingface.co/datasets/HuggingFaceH4/MATH-500/resolve/main/test.jsonl",
                ),
            ),
        ),
    )
}
"""Name -> dataset."""
