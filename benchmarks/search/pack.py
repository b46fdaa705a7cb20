"""Packs what was recorded into the tables that are committed, or unpacks them to record more.

python -m benchmarks.search.pack --records DIR [--tables DIR] [--unpack]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.search.table import TABLES, pack, unpack


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.search.pack")
    parser.add_argument("--records", type=Path, required=True, help="the recorder's --out")
    parser.add_argument("--tables", type=Path, default=TABLES)
    parser.add_argument("--unpack", action="store_true", help="the other way round")
    chosen = parser.parse_args()
    if chosen.unpack:
        for table in sorted(chosen.tables.glob("*.npz")):
            count = unpack(table.stem, chosen.records / table.stem, chosen.tables)
            print(f"{table.stem}: {count} trials")
        return
    for plan in sorted(chosen.records.glob("*/plan.json")):
        if not any((plan.parent / "trials").glob("*.npz")):
            continue
        count = pack(plan.parent, plan.parent.name, chosen.tables)
        size = (chosen.tables / f"{plan.parent.name}.npz").stat().st_size / 1024
        print(f"{plan.parent.name}: {count} trials, {size:.0f} KiB")


if __name__ == "__main__":
    main()
