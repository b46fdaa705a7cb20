"""Makes the curve world of the execution tests importable here: a plan and its losses."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parents[1] / "execution"
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))
