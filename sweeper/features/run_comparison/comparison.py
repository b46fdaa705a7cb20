"""The page of several runs, and a sentence for every two of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sweeper.artifact import write_text
from sweeper.features.run_comparison._page import pair_sentence, runs_page
from sweeper.features.run_comparison._runs import ComparedRun, pairs
from sweeper.reporting.page_html import render
from sweeper.runfolder import RunFolder


def compare(runs: Sequence[RunFolder], path: Path) -> list[str]:
    """Write the page, and return a sentence for every two runs."""
    compared = [ComparedRun(run) for run in runs]
    every_two = pairs(compared)
    write_text(path, render(runs_page(compared, every_two)))
    return [pair_sentence(pair) for pair in every_two]
