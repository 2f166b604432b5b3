"""What syncing costs: a folder of a checkpoint's size, written without and with waiting for the disk.

python benchmarks/checkpoint_sync.py FOLDER --megabytes 540
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path

import numpy as np

from surestep.files import sync_folder, sync_tree


def main() -> None:
    """Print seconds of each part, the median of three."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--megabytes", type=int, default=540)
    arguments = parser.parse_args()
    content = np.random.default_rng(0).integers(0, 256, arguments.megabytes * 10**6 // 3, np.uint8).tobytes()
    found: dict[str, list[float]] = {"write": [], "sync": [], "rename_and_sync_folder": []}
    for number in range(3):
        folder = arguments.folder / f"part-{number}"
        folder.mkdir(parents=True)
        times = [time.perf_counter()]
        for name in ("weights", "first_moments", "second_moments"):
            (folder / name).write_bytes(content)
        times.append(time.perf_counter())
        sync_tree(folder)
        times.append(time.perf_counter())
        folder.rename(arguments.folder / f"whole-{number}")
        sync_folder(arguments.folder)
        times.append(time.perf_counter())
        for name, begun, ended in zip(found, times[:-1], times[1:], strict=True):
            found[name].append(ended - begun)
        shutil.rmtree(arguments.folder / f"whole-{number}")
    medians = {name: round(float(np.median(values)), 3) for name, values in found.items()}
    print(json.dumps({"megabytes": arguments.megabytes, "seconds": medians}))


if __name__ == "__main__":
    main()
