"""Preference data, which is refused: it ranks answers instead of giving one."""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.data.formats.row_format import RowFormat
from sweeper.data.table import Fields, RowTable
from sweeper.errors import DataError


class Preference(RowFormat):
    """Pairs of answers, ratings of answers, and ratings of steps."""

    name = "preference"
    order = 0
    tasks = ()
    columns = "`chosen` and `rejected`, `kto_tag`, `completion` with a true or false `label`, ..."

    @property
    def names(self) -> set[str]:
        """Names that no other format has."""
        return {"chosen", "rejected"}

    def refuse(self, table: RowTable, sample: Sequence[Fields]) -> None:
        """Refuse preference data, and say what to train on instead.

        Raises:
            DataError: The table holds preference data.
        """
        present = {column.lower(): column for column in table.columns}
        if {"chosen", "rejected"} <= present.keys():
            what = "preference pairs (`chosen` and `rejected`)"
            fix = (
                "Train on the chosen answers: "
                "data.columns: {prompt: prompt, completion: chosen}, or {messages: chosen}."
            )
        elif "kto_tag" in present:
            what, fix = "ratings of answers (`kto_tag`)", "Keep the rows that were rated good."
        elif {"completion", "label"} <= present.keys() and all(
            isinstance(fields.get(present["label"]), bool) for fields in sample
        ):
            what = "rated answers (`completion` with a true or false `label`)"
            fix = "Keep the rows rated true, and drop the column `label`."
        elif {"completions", "labels"} <= present.keys():
            what, fix = "stepwise ratings (`completions` and `labels`)", "Use data with one answer."
        else:
            return
        raise DataError(
            f"this is preference data: {what}",
            why="Every strategy here learns from one right answer a row, not from comparisons. "
            "For those there are TRL's trainers (DPOTrainer, KTOTrainer, RewardTrainer).",
            fix=fix,
            where=table.name,
            code="preference-data",
        )
