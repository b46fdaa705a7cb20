"""Tests of programs that models wrote, run by the feature that isolates programs.

``pass_at_1`` is also a metric for code tasks in lm-eval's task YAML. Use it instead of
``code_eval``, which lm-eval's own code tasks download and which runs programs without isolation::

    metric_list:
      - metric: !function sweeper.metrics.programs.pass_at_1
        aggregation: mean
        higher_is_better: true
    filter_list:
      - name: create_test
        filter:
          - function: custom
            filter_fn: !function sweeper.metrics.programs.build_predictions
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from sweeper.errors import Problem, SweeperError, UsageError
from sweeper.features import parts
from sweeper.spec import Spec

PERMISSION = "HF_ALLOW_CODE_EVAL"
"""Environment variable that allows running generated code, as in the ``evaluate`` library."""


def samples(spec: Spec) -> int:
    """Number of answers to each item that are run as programs.

    0 if the user has not allowed it, or no installed feature runs programs.
    """
    return max((hook(spec) for _, hook in parts.SAMPLES.all()), default=0)


def run_program(program: str, tests: Sequence[str]) -> bool:
    """Whether a program passes its tests. Call it only with the user's permission.

    Raises:
        UsageError: No installed feature runs programs.
        RunError: This machine cannot isolate a program; nothing was run.
    """
    for _, run in parts.RUN_PROGRAM.all():
        return run(program, tests)
    raise UsageError("no installed feature runs programs", fix="Leave pass@k out.")


def refusal() -> Problem | None:
    """Why this machine cannot run programs, and what to install; None if it can."""
    try:
        run_program("", ())
    except SweeperError as error:
        return error.problems[0]
    return None


def pass_at_1(
    references: Sequence[str], predictions: Sequence[str | Sequence[str]]
) -> dict[str, float]:
    """The share of programs that pass their tests.

    ``references`` are Python sources of the tests (``doc_to_target``), one for each item, and
    ``predictions`` a program for each, or a list whose first element is the program.

    Raises:
        UsageError: The environment does not allow running generated code.
        RunError: This machine cannot isolate a program; nothing was run.
    """
    if os.environ.get(PERMISSION) != "1":
        raise UsageError(
            "running code that a model wrote needs permission",
            why="Nobody has checked this code. It runs on this machine, with limits.",
            fix=f"Set {PERMISSION}=1 to allow it, or leave pass@k out.",
        )
    programs = [item if isinstance(item, str) else item[0] for item in predictions]
    passed = [
        run_program(program, [str(tests)])
        for program, tests in zip(programs, references, strict=True)
    ]
    return {"pass@1": sum(passed) / len(passed)}


def build_predictions(
    resps: Sequence[Sequence[str]], docs: Sequence[Mapping[str, str]]
) -> list[list[str]]:
    """Whole programs: the ``prompt`` of each row with each of its completions."""
    return [
        [doc["prompt"] + completion for completion in completions]
        for completions, doc in zip(resps, docs, strict=True)
    ]
