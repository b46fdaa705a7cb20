"""Runs, one after the other, the benchmarks that need nothing but this repository."""

from __future__ import annotations

import subprocess
import sys

ALONE = ("startup", "execution.kills", "throughput")


def main() -> None:
    """Run them; the first that fails ends it."""
    for name in ALONE:
        print(f"== {name}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)


if __name__ == "__main__":
    main()
