"""Checks that saved answers can be compared, and that none is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from sweeper.artifact import Record
from sweeper.data.examples import Dataset
from sweeper.errors import Problem
from sweeper.facts.record import Facts
from sweeper.features import parts
from sweeper.features.answers._saved_answers import SavedAnswers
from sweeper.features.answers.options import Options
from sweeper.metrics.objectives import objectives_for
from sweeper.objective import LOSS
from sweeper.spec import Spec


class AnswersFacts(Record):
    """The models whose answers are compared.

    A model's ``title`` is the name of its file; its ``name`` in a run is ``answers-TITLE``.
    """

    models: tuple[SavedAnswers, ...]


def check(spec: Spec, for_run: bool) -> Iterator[Problem]:
    """Problems: files with the same name, and the loss as objective of a task that writes text.

    Saved answers have no loss. Classification does not need it: accuracy takes its place. The same
    whether the command will train or not (``for_run``).
    """
    models = [SavedAnswers.of(path) for path in spec.features.of(Options).files]
    where = spec.places.where(("features", "answers", "files"))
    for title, count in Counter(model.title for model in models).items():
        if count > 1:
            fix = "Give the files different names: reports call a model by the name of its file."
            yield Problem(f"{count} files are called {title}", "", fix, where)
    if models and spec.task != "classification" and spec.objective.name == LOSS.name:
        metric_names = ", ".join(name for name in objectives_for(spec.task) if name != LOSS.name)
        yield Problem(
            "saved answers have no loss",
            "Trials are compared by validation loss here.",
            f"Add --objective with a metric of answers: {metric_names}.",
            where,
        )


def gather(spec: Spec, facts: Facts, dataset: Dataset | None, for_run: bool) -> AnswersFacts | None:
    """The models, after a check that no answer is missing; None without models or data.

    The same whether the command will train or not (``for_run``).
    """
    models = [SavedAnswers.of(path) for path in spec.features.of(Options).files]
    if not models or dataset is None:
        return None
    return AnswersFacts(models=tuple(model.checked(dataset, spec) for model in models))


def identity(spec: Spec, facts: Facts) -> object:
    """The digests of the answers, which must not change when a run is continued."""
    recorded = parts.record_of(facts.features, "answers", AnswersFacts)
    return [[model.name, model.sha256] for model in recorded.models] if recorded else None
