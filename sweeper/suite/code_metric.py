"""The metric of code tasks in lm-eval's task YAML: programs run against their tests in a sandbox.

It takes the place of ``code_eval``, which lm-eval's own code tasks download and run unconfined::

    metric_list:
      - metric: !function sweeper.suite.code_metric.pass_at_1
        aggregation: mean
        higher_is_better: true
    filter_list:
      - name: create_test
        filter:
          - function: custom
            filter_fn: !function sweeper.suite.code_metric.build_predictions
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from sweeper.evaluation.code_execution import run_program

PERMISSION = "HF_ALLOW_CODE_EVAL"
"""The variable that allows running generated code; the name is that of the ``evaluate`` library."""


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
    permitted = os.environ.get(PERMISSION) == "1"
    programs = [item if isinstance(item, str) else item[0] for item in predictions]
    passed = [
        run_program(program, [str(tests)], permitted=permitted).passed
        for program, tests in zip(programs, references, strict=True)
    ]
    return {"pass@1": sum(passed) / len(passed)}


def build_predictions(
    resps: Sequence[Sequence[str]], docs: Sequence[Mapping[str, str]]
) -> list[list[str]]:
    """Completions as whole programs: each one after the ``prompt`` of its row."""
    return [
        [doc["prompt"] + completion for completion in completions]
        for completions, doc in zip(resps, docs, strict=True)
    ]
