"""``python -m sweeper.child [--request FILE] MODULE:FUNCTION PARENT`` calls a function.

The request is in FILE, or at the beginning of standard input. See ``sweeper.child_process``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sweeper.child_process import answer

if __name__ == "__main__":
    arguments = sys.argv[1:]
    file = Path(arguments[1]) if arguments[0] == "--request" else None
    function, parent = arguments[2:4] if file else arguments[:2]
    answer(function, int(parent), file)
