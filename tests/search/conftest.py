"""Makes the curve world of the execution tests and the benchmarks importable here."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
for folder in (ROOT, ROOT / "tests" / "execution"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
