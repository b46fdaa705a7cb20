"""Scores the finalists and their bases at the end of a sweep."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sweeper.features.suite._scoring import request_for, require_suite, score, writes_text
from sweeper.features.suite.options import Options
from sweeper.metrics.programs import samples
from sweeper.plans import Plan
from sweeper.runfolder import RunFolder
from sweeper.spec import Spec
from sweeper.trials import TestSeal
from sweeper.views.work_progress import Lines, sentence


def finish(run: RunFolder, spec: Spec, plan: Plan, say: Callable[[str], None]) -> None:
    """Score the finalists that write text, and their bases, if the run has a suite.

    Raises:
        SweeperError: The suite cannot be used, or the evaluating process broke.
    """
    path = spec.features.of(Options).path
    if path is None or not run.test_seal.is_file():
        return
    order = TestSeal.read(run.test_seal).order
    text_writers = [number for number in order if writes_text(run, number)]
    if not text_writers:
        say("no finalist writes text: their general capability cannot be scored")
        return
    suite, permitted = require_suite(Path(path)), samples(spec) > 0
    request = request_for(run, plan, spec, suite, text_writers, permitted=permitted)
    score(request, say, Lines(lambda *state: say(sentence(*state))))
