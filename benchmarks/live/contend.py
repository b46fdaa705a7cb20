"""One of the other contenders, in a process of its own.

``python -m benchmarks.live.contend NAME MODE DATA FOLDER TRIALS SEED`` writes FOLDER/diary.jsonl.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

from benchmarks.live.record import Diary, Mode


def main() -> None:
    """Run it."""
    name, mode, data, folder, trials, seed = sys.argv[1:]
    if name == "ray":
        from benchmarks.live.by_ray import search  # only this contender needs Ray
    elif name == "race":
        from benchmarks.live.by_race import search
    elif name == "engineer":
        from benchmarks.live.by_engineer import search
    else:
        from benchmarks.live.by_transformers import search
    diary = Diary(Path(folder) / "diary.jsonl")
    search(cast(Mode, mode), Path(data), Path(folder), int(trials), int(seed), diary)


if __name__ == "__main__":
    main()
