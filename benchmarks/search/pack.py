"""Packs what was recorded into the tables that are committed.

python -m benchmarks.search.pack --records DIR [--to DIR]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.search.table import TABLES, pack


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.search.pack")
    parser.add_argument("--records", type=Path, required=True, help="the recorder's --out")
    parser.add_argument("--to", type=Path, default=TABLES)
    chosen = parser.parse_args()
    for plan in sorted(chosen.records.glob("*/plan.json")):
        if not any((plan.parent / "trials").glob("*.npz")):
            continue
        count = pack(plan.parent, plan.parent.name, chosen.to)
        size = (chosen.to / f"{plan.parent.name}.npz").stat().st_size / 1024
        print(f"{plan.parent.name}: {count} trials, {size:.0f} KiB")


if __name__ == "__main__":
    main()
