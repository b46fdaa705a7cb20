"""pass@k: how likely at least one of k answers passes its tests.

Knows answers as text and how they fared. How programs are run is ``code_execution``'s.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

_FENCE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)


def code_of(answer: str) -> str:
    """The code in an answer: its first fenced block, or all of it.

    >>> code_of("Sure:\\n```python\\nx = 1\\n```\\nDone.")
    'x = 1\\n'
    >>> code_of("x = 1")
    'x = 1'
    """
    fenced = _FENCE.search(answer)
    return fenced.group(1) if fenced else answer


def pass_at_k(passed: Sequence[Sequence[bool]], k: int) -> float:
    """The unbiased estimate from n answers to each problem (arXiv:2107.03374, section 2.1).

    Args:
        passed: For each problem, whether each of its answers passed; at least ``k`` answers.
        k: How many answers one may try.

    >>> pass_at_k([[True, False], [False, False]], 1)
    0.25
    """
    return float(np.mean([_one(len(answers), sum(answers), k) for answers in passed]))


def _one(answers: int, right: int, k: int) -> float:
    if not 1 <= k <= answers:
        raise ValueError(f"1 <= k <= answers must hold, but got ({k=}, {answers=})")
    return 1.0 - math.comb(answers - right, k) / math.comb(answers, k)
