"""The compared models, whose answers are shown and rated, and the texts of test items."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from sweeper.artifact import Record
from sweeper.findings.study.item_scores import entries, model_title, scored_items, trial_name
from sweeper.findings.study.reading import RunFiles
from sweeper.findings.verdict.comparisons import compare_finalists
from sweeper.trials import ItemText

Role = Literal["base", "default", "winner", "runner-up"]


class ComparedModel(Record):
    """A model whose answers are shown and rated."""

    role: Role
    name: str = Field(description="as comparisons call it")
    title: str


def compared_models(run: RunFiles) -> tuple[ComparedModel, ...]:
    """Base, default, winner and runner-up, if they were scored on the test split.

    The base is the untrained model, or the best baseline if the task needs a new head.
    """
    scored, contest = entries(run), compare_finalists(run)
    best = contest.baseline.name if contest.baseline else ""
    base = "zero_shot" if "zero_shot" in scored else best
    rival = trial_name(contest.rival.trial) if contest.rival else ""
    winner = trial_name(contest.chosen.trial) if contest.chosen else ""
    named = {"base": base, "default": contest.default or "", "winner": winner, "runner-up": rival}
    if rival == contest.default:
        del named["runner-up"]
    return tuple(
        ComparedModel.model_validate({"role": role, "name": name, "title": model_title(run, name)})
        for role, name in named.items()
        if name in scored
    )


def stored_texts(run: RunFiles) -> dict[int, ItemText]:
    """The stored texts of scored test items, by index."""
    scored = set(np.flatnonzero(scored_items(run)).tolist())
    return {
        item: text
        for model_scores in entries(run).values()
        for score in model_scores
        for item, text in score.texts.items()
        if item in scored
    }
