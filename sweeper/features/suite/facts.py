"""The tasks of the suite, read from their files, or by lm-eval before a run."""

from __future__ import annotations

from pathlib import Path

from sweeper.data.examples import Dataset
from sweeper.facts.record import Facts
from sweeper.features.suite._facts import SuiteFacts
from sweeper.features.suite.options import Options
from sweeper.spec import Spec


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
