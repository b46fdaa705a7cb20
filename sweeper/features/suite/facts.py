"""Sizes of the suite's tasks, read from their files, or by lm-eval before a run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from sweeper.artifact import Record
from sweeper.data.examples import Dataset
from sweeper.facts.record import Facts
from sweeper.features.suite.options import Options
from sweeper.spec import Spec


class SuiteTaskFacts(Record):
    """Items, prompts and outputs of one task of a suite.

    Args:
        name: Name of the task, or of a group whose members are not known.
        output_type: Name in lm-eval (``multiple_choice``, ...); empty if unknown.
        items: Number of scored items; None if unknown.
        limit: The most items of each member, if ``items`` is unknown.
        prompt_tokens: Mean prompt tokens of a request with solved examples; None if unknown.
        requests: Forward passes for each item on average; None if unknown.
        shots: Solved examples before each item.
        max_new_tokens: Tokens of the longest output; 0 if nothing is generated.
    """

    name: str
    output_type: str = ""
    items: int | None = None
    limit: int | None = None
    prompt_tokens: float | None = None
    requests: float | None = None
    shots: int = 0
    max_new_tokens: int = 0


class SuiteFacts(Record):
    """The suite that the base and the finalists are scored by.

    ``measured_with`` says what read the tasks: lm-eval, which knows all sizes, or their files.
    """

    tasks: tuple[SuiteTaskFacts, ...]
    measured_with: Literal["lm-eval", "task files"]


def gather(spec: Spec, facts: Facts, dataset: Dataset | None, for_run: bool) -> SuiteFacts | None:
    """The tasks, if there is a suite. Before a run, lm-eval loads them in a process.

    Raises:
        UsageError: The suite or its data cannot be used, or it runs code without permission.
    """
    path = spec.features.of(Options).path
    if path is None:
        return None
    from sweeper.features.suite._scoring import check_suite
    from sweeper.features.suite._task_files import suite_facts
    from sweeper.metrics.programs import samples

    if for_run:
        return check_suite(Path(path), run_generated_code=samples(spec) > 0)
    return suite_facts(Path(path))
