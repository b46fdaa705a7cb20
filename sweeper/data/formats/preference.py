"""Preference data, which is refused: it ranks answers instead of giving one."""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.data.table import Fields, RowTable
from sweeper.errors import DataError


def refuse_preferences(table: RowTable, sample: Sequence[Fields]) -> None:
    """Refuse preference data, and say what to train on instead.

    Raises:
        DataError: The table holds pairs of answers, or ratings of answers or steps.
    """
    present = {column.lower(): column for column in table.columns}
    has_ratings = {"completion", "label"} <= present.keys() and all(
        isinstance(fields.get(present["label"]), bool) for fields in sample
    )
    if {"chosen", "rejected"} <= present.keys():
        what = "preference pairs (`chosen` and `rejected`)"
        fix = "Name the chosen answers: data.columns: {prompt: prompt, completion: chosen}, or "
        fix += "{messages: chosen}."
    elif "kto_tag" in present or has_ratings:
        what = "ratings of answers (`kto_tag`, or `completion` with a true or false `label`)"
        fix = "Keep the rows that were rated good, and drop the column of ratings."
    elif {"completions", "labels"} <= present.keys():
        what, fix = "stepwise ratings (`completions` and `labels`)", "Use data with one answer."
    else:
        return
    raise DataError(
        f"this is preference data: {what}",
        why="Every strategy here learns from one right answer a row, not from comparisons. For "
        "those there are TRL's trainers (DPOTrainer, KTOTrainer, RewardTrainer).",
        fix=fix,
        where=table.name,
        code="preference-data",
    )
