"""One of the other contenders, in a process of its own.

``python -m benchmarks.live.contend NAME DATA FOLDER TRIALS SEED`` writes FOLDER/diary.jsonl.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from benchmarks.live.record import Diary


def main() -> None:
    """Run it."""
    name, data, folder, trials, seed = sys.argv[1:]
    contender = importlib.import_module(f"benchmarks.live.by_{name}")  # only one needs Ray
    diary = Diary(Path(folder) / "diary.jsonl")
    contender.search(Path(data), Path(folder), int(trials), int(seed), diary)


if __name__ == "__main__":
    main()
