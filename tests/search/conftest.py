"""Makes what these tests share with each other, the execution tests and benchmarks importable."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
for folder in (ROOT, ROOT / "tests" / "execution", ROOT / "tests" / "search"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
