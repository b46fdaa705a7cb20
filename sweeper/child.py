"""``python -m sweeper.child MODULE:FUNCTION PARENT``: calls a function with a request.

The request is the first line on standard input. See ``sweeper.child_process``.
"""

from __future__ import annotations

import sys

from sweeper.child_process import answer

if __name__ == "__main__":
    answer(sys.argv[1], int(sys.argv[2]))
