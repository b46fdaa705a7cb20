"""Scores saved answers on the items that trials are scored on, by the same metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sweeper.data.examples import Example, Split, normalised
from sweeper.evaluation.objective_values import ItemAnswers, from_answers, item_metrics
from sweeper.features.answers._saved_answers import SavedAnswers
from sweeper.features.answers.options import Options
from sweeper.metrics import user_function
from sweeper.metrics.metric import compute_metrics, item_values, metrics
from sweeper.tasks.classification import ClassDecisions
from sweeper.training.base_model.context import ModelContext
from sweeper.training.torch_backend import items_sha256
from sweeper.trials import BaselineResult, GeneratedAnswers, TestScore


def baselines(context: ModelContext) -> Iterator[ReferenceModel]:
    """One reference model for each file of ``--answers``."""
    for path in context.spec.features.of(Options).files:
        yield ReferenceModel(SavedAnswers.of(path), context)


@dataclass(frozen=True)
class _Scores:
    """Scores of saved answers.

    Args:
        weights: 1 for each scored item, 0 for each item that trials leave out.
        item_scores: One for each item of weight 1.
        value: Mean of ``item_scores``: the headline metric.
    """

    weights: tuple[float, ...]
    item_scores: Sequence[float]
    value: float
    metrics: dict[str, float]
    generated: GeneratedAnswers | None = None


class ReferenceModel:
    """A baseline: saved answers of a model elsewhere."""

    def __init__(self, saved: SavedAnswers, context: ModelContext) -> None:
        self.name = saved.name
        self._saved = saved
        self._context = context

    def on_validation(self) -> BaselineResult:
        """The scores on the validation split, without a loss."""
        scores, objective = self._scores("validation"), self._context.objective
        return BaselineResult(
            name=self.name,
            title=self._saved.title,
            objective=None if objective.is_loss else scores.value,
            metrics=scores.metrics,
            note="Saved answers of a model elsewhere.",
            reference=True,
        )

    def on_test(self) -> TestScore:
        """The scores on the test split; 0 for items of weight 0."""
        scores = self._scores("test")
        values = iter(scores.item_scores)
        return TestScore(
            name=self.name,
            metrics=scores.metrics,
            item_scores=tuple(next(values) if weight else 0.0 for weight in scores.weights),
            item_weights=scores.weights,
            items_sha256=items_sha256(self._context.dataset.splits["test"]),
            generated=scores.generated,
        )

    def _scores(self, split: Split) -> _Scores:
        examples, split_items = self._context.dataset.splits[split], self._context.items(split)
        all_answers = self._saved.answers_for(self._context.dataset, self._context.spec, split)
        weights = tuple(
            float("dropped" not in row["encoding_kinds"]) for row in split_items.encoding_kinds
        )
        answers = [text for text, weight in zip(all_answers, weights, strict=True) if weight]
        scored_examples = [
            example for example, weight in zip(examples, weights, strict=True) if weight
        ]
        if isinstance(self._context.task, ClassDecisions):
            return self._of_classes(self._context.task, weights, answers, scored_examples)
        return self._of_texts(weights, answers, scored_examples)

    def _of_classes(
        self,
        task: ClassDecisions,
        weights: tuple[float, ...],
        answers: list[str],
        examples: list[Example],
    ) -> _Scores:
        """Scores of answers that name classes; an answer that names none is wrong."""
        objective = self._context.objective
        numbers = {normalised(label): number for number, label in enumerate(task.dataset.labels)}
        predicted = [numbers.get(normalised(text), -1) for text in answers]
        true_numbers = task.targets(examples)
        if objective.function:
            value, item_scores = user_function.measure(objective, answers, examples)
        else:
            metric = metrics()["accuracy" if objective.is_loss else objective.metric]
            item_scores = item_values(
                metric.compute, predicted, true_numbers, per_item=metric.per_item
            )
            value = metric.compute(predicted, true_numbers)
        figures = compute_metrics("classes", predicted, true_numbers)
        figures |= {} if objective.is_loss else {objective.metric: value}
        return _Scores(weights, item_scores, value, figures)

    def _of_texts(
        self, weights: tuple[float, ...], answers: list[str], examples: list[Example]
    ) -> _Scores:
        context = self._context
        tokens = max((len(ids) for ids in context.tokenizer(answers)["input_ids"]), default=0)
        figures = compute_metrics("answers", answers, [example.accepted for example in examples])
        item_answers = ItemAnswers(tuple((text,) for text in answers), figures, tokens)
        score = from_answers(context.objective, item_answers, examples, context.on_progress)
        places = tuple(index for index, weight in enumerate(weights) if weight)
        generated = GeneratedAnswers(
            items=len(places),
            metrics=figures,
            places=places,
            item_metrics=item_metrics(item_answers, examples),
            max_tokens=tokens,
        )
        figures = figures | {context.objective.metric: score.value}
        return _Scores(weights, score.items.tolist(), score.value, figures, generated)
