"""What a module does that is asked in a process of its own: it answers standard input, and ends.

``child_process`` and ``processes`` are the ends that ask.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from sweeper.artifact import Artifact
from sweeper.die_with_parent import die_with
from sweeper.errors import SweeperError

R = TypeVar("R", bound=Artifact)


def answer_question(answer: Callable[[str], Any]) -> None:
    """Print the answer to the text on standard input as one line of JSON; an error on stderr."""
    try:
        print(json.dumps(answer(sys.stdin.read())))
    except SweeperError as error:
        print(error.problems[0].what, file=sys.stderr)
        sys.exit(error.exit_code)


def answer_request(kind: type[R], answer: Callable[[R], None]) -> None:
    """Answer the request on standard input, in a process of its own that ends with its parent.

    Args:
        kind: The type of the request.
        answer: Does what is asked. Its errors are printed as one line of JSON.
    """
    die_with(int(sys.argv[1]))
    request = kind.from_json(sys.stdin.read())
    try:
        answer(request)
    except SweeperError as error:
        problems = [vars(problem) for problem in error.problems]
        failed = {"event": "failed", "exit_code": error.exit_code, "problems": problems}
        print(json.dumps(failed), flush=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
