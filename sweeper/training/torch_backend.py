"""The training backend of a worker: loads data and models once and trains many trials.

Implements ``sweeper.backend.Backend`` with torch, transformers and PEFT.
"""

from __future__ import annotations

import gc
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sweeper.backend import Decision, OnProgress, ProgressReporter, no_progress
from sweeper.child_process import GPU_SHARE
from sweeper.data.examples import Dataset, Example
from sweeper.data.prepared import prepared_data
from sweeper.evaluation.evaluator import autocast
from sweeper.evaluation.objective_values import (
    ObjectiveScore,
    Sampling,
    answer,
    from_answers,
    from_decisions,
    from_generation,
    item_metrics,
)
from sweeper.facts.record import Split
from sweeper.features import parts
from sweeper.metrics.programs import samples
from sweeper.plans import Candidate, Half, Plan, autocast_dtype, frozen_dtype
from sweeper.runfolder import WEIGHTS, RunFolder
from sweeper.safe_text import TEXT_CHARACTERS, shortened
from sweeper.spec import Spec
from sweeper.strategies.strategy import strategy as strategy_named
from sweeper.tasks.fewshot import FewShot, ZeroShot
from sweeper.tasks.instruction import Instruction
from sweeper.tasks.task import Baseline, Evaluation
from sweeper.training.base_model.context import ModelContext
from sweeper.training.base_model.shared import SharedModel
from sweeper.training.base_model.weights import weights_folder
from sweeper.training.measurements import store_measurement
from sweeper.training.trial.assembly import trained
from sweeper.training.trial.train import train_trial
from sweeper.training.trial.trial_job import TrialJob
from sweeper.trials import (
    BaselineResult,
    GeneratedAnswers,
    ItemText,
    RungReport,
    TestScore,
    TestSeal,
    TrialConfig,
    TrialResult,
)

# Default number of test items that models answer. Generation on a CPU is slow, so there are only as
# many as a comparison of answers needs.
_ANSWERED_ITEMS = {"cpu": 20, "cuda": 256}
# Test items whose texts are stored for the report: the first ones, which are a random sample since
# items are ordered by hash, and those with the highest losses of each model.
_FIRST_TEXTS, _HARDEST_TEXTS = 48, 40
# Temperature and nucleus (top-p) when several programs are sampled for an item, as in
# arXiv:2107.03374, section 3.
_TEMPERATURE, _TOP_P = 0.8, 0.95


def make(run: RunFolder, plan: Plan, spec: Spec, on_progress: OnProgress) -> TorchBackend:
    """A backend for a run; data and models are loaded when first needed."""
    if (share := os.environ.get(GPU_SHARE)) and torch.cuda.is_available():
        # A process that exceeds its share runs out of memory itself, not its neighbours.
        torch.cuda.set_per_process_memory_fraction(float(share))
    return TorchBackend(plan, spec, run.path, on_progress=on_progress)


class TorchBackend:
    """Trains and scores with the models and the data of one plan.

    Args:
        plan: The run's plan, with sequence lengths and facts of the models.
        device: Training device; if None, a GPU if there is one.
        on_progress: Receiver of the progress of long work.
        dataset: The training data; loaded as the spec says if None.
    """

    def __init__(
        self,
        plan: Plan,
        spec: Spec,
        run: Path | None = None,
        device: torch.device | None = None,
        on_progress: OnProgress = no_progress,
        dataset: Dataset | None = None,
    ) -> None:
        self._on_progress = ProgressReporter(on_progress)
        self._run = run
        self._plan = plan
        self._spec = spec
        usual_device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._device = device or usual_device
        record = RunFolder(run).data_changes if run else None
        self._dataset = dataset or prepared_data(spec, record).dataset
        self._shared: dict[str, SharedModel] = {}

    def shared(self, model: str) -> SharedModel:
        """The data that all trials of one base model share, loaded on first use."""
        if model not in self._shared:
            if self._device.type == "cuda":
                self.close()
            self._on_progress(f"loading {model}", 0, 0)
            self._shared[model] = self._load_shared(model)
            # Objects loaded so far stay. Without them, garbage collections in Trainer are cheap
            # (measured: 24 steps of a tiny model take 0.45 s instead of 2.5 s).
            gc.collect()
            gc.freeze()
        return self._shared[model]

    def shared_for(self, config: TrialConfig) -> SharedModel:
        """The shared data for one trial, which may train on only part of the rows."""
        shared = self.shared(config.model)
        return shared.part(config.train_rows, config.seed) if config.train_rows else shared

    def _load_shared(self, model: str) -> SharedModel:
        # The plan has the model's path as typed by the user, the spec as resolved here.
        models = zip(self._spec.models, self._plan.facts.models, strict=True)
        spec, facts = next((spec, facts) for spec, facts in models if facts.id == model)
        # This candidate's set-up is for the untrained base only: each trial has its own.
        candidate = self._plan.candidate_of_untrained_base(model)
        dtype, quantization_config = _untrained_precision(candidate, self._device)
        context = ModelContext(
            spec,
            facts,
            weights_folder(spec, facts, self._on_progress),
            self._dataset,
            self._spec,
            candidate.setup.sequence_length,
            candidate.setup.evaluation_batch,
            self._device,
            mixed_dtype=autocast_dtype(candidate.setup.precision),
            on_progress=self._on_progress,
            objective=self._plan.objective,
            base_dtype=dtype,
            quantization_config=quantization_config,
            fused_kernels=self._device.type == "cuda"
            and self._plan.facts.hardware.fused_kernels
            and find_spec("liger_kernel") is not None,
        )
        return SharedModel(context)

    def baselines(self) -> Iterator[BaselineResult]:
        for feature_baseline in self._feature_baselines.values():
            yield feature_baseline.on_validation()
        for baseline in self.shared(self._plan.candidates[0].model).baselines:
            start = time.perf_counter()
            self._on_progress.title = baseline.title
            try:
                evaluation = baseline.evaluate("validation")
                score = self._objective_of(baseline, evaluation, "validation")
            finally:
                self._on_progress.title = ""
            yield BaselineResult(
                name=baseline.name,
                title=baseline.title,
                validation_loss=evaluation.loss,
                objective=score.value if score else None,
                metrics=evaluation.metrics | self._objective_metric(score),
                item_losses=tuple(evaluation.losses.tolist()),
                item_weights=tuple(evaluation.weights.tolist()),
                seconds=time.perf_counter() - start,
                note=baseline.note,
            )

    @cached_property
    def _feature_baselines(self) -> dict[str, parts.OutsideModel]:
        """The baselines that sweeper's features add, by name; not those of the task."""
        context = self.shared(self._plan.candidates[0].model).context
        return {model.name: model for _, hook in parts.BASELINES.all() for model in hook(context)}

    def _objective_metric(self, score: ObjectiveScore | None) -> dict[str, float]:
        return {self._plan.objective.metric: score.value} if score else {}

    def _objective_of(
        self, baseline: Baseline, evaluation: Evaluation, split: Split
    ) -> ObjectiveScore | None:
        """The objective of a baseline; None if it is the loss, or needs answers that the baseline
        does not generate."""
        context = self.shared(self._plan.candidates[0].model).context
        objective, examples = self._plan.objective, self._dataset.splits[split]
        if isinstance(baseline, ZeroShot | FewShot) and objective.of_answers:
            base, on_progress = context.base(), self._on_progress
            with torch.no_grad(), context.computing():
                scored = evaluation.scored_examples(examples)
                return from_generation(
                    objective, context.task, base, scored, on_progress, baseline.prompt
                )
        return from_decisions(objective, context.task, evaluation, examples)

    def train(
        self,
        config: TrialConfig,
        folder: Path,
        report: Callable[[RungReport], Decision],
        should_stop: Callable[[], bool],
        checkpoint: Path | None = None,
    ) -> TrialResult:
        shared = self.shared_for(config)
        self._on_progress.should_stop = should_stop
        try:
            job = TrialJob(shared, config, folder, report, self._run, checkpoint)
            if config.setup.gpus > 1:  # the trial's processes load the model from the plan
                job.ranks_plan = self._plan
            result = train_trial(job)
            store_measurement(config, result, shared.context, job.reports)
            return result
        finally:
            self._on_progress.should_stop = lambda: False

    def score_test(self, name: str, config: TrialConfig | None, folder: Path | None) -> TestScore:
        """Score a trial's saved weights, or a baseline by name, on the sealed test split.

        Raises:
            KeyError: There is no baseline of that name.
        """
        if config is None and name in self._feature_baselines:
            return self._feature_baselines[name].on_test()
        if config is None or folder is None:
            shared = self.shared(self._plan.candidates[0].model)
            baselines = {baseline.name: baseline for baseline in shared.baselines}
            baseline, context = baselines[name], shared.context
            score = scores_on_test(name, None, shared, baseline.evaluate("test"))
            if not isinstance(baseline, ZeroShot | FewShot):
                return score
            return with_answers(score, shared, context.base(), context.mixed_dtype, baseline.prompt)
        shared = self.shared(config.model)
        mixed_dtype = autocast_dtype(config.setup.precision)
        evaluator = shared.context.evaluator("test", config.setup.evaluation_batch, mixed_dtype)
        with trained(shared, folder / WEIGHTS) as model:
            start = time.perf_counter()
            evaluation = evaluator.evaluate(model)
            seconds = {"seconds": time.perf_counter() - start}
            score = scores_on_test(name, config, shared, evaluation).model_copy(update=seconds)
            if not self._generates_answers(config):
                return score
            with strategy_named(config.strategy).merged(model):
                return with_answers(score, shared, model, mixed_dtype)

    def _generates_answers(self, config: TrialConfig) -> bool:
        """Whether to generate a trial's answers, which is slow: for finalists and defaults with the
        plan's seed, or for every trial if the objective needs answers."""
        if self._plan.objective.of_answers:
            return True
        seal = RunFolder(self._run).test_seal if self._run is not None else None
        # Without a seal it is not known which trials are finalists.
        finalist = seal is None or not seal.exists() or config.number in TestSeal.read(seal).order
        return (finalist or config.origin == "default") and config.seed == self._plan.seed

    def close(self) -> None:
        for shared in self._shared.values():
            shared.context.base_lender.release()
            shared.prepared_bases.release()
        self._shared.clear()
        gc.unfreeze()
        gc.collect()


def _untrained_precision(candidate: Candidate, device: torch.device) -> tuple[torch.dtype, Any]:
    """The dtype and quantisation in which the untrained base is scored."""
    strategy, setup = strategy_named(candidate.strategy), candidate.setup
    if setup.quantization is not None:
        dtype = strategy.base_dtype(setup.precision)
        return dtype, strategy.quantization_config(candidate.defaults(), dtype=dtype)
    if device.type == "cpu" or setup.precision == "fp32":
        return torch.float32, None
    return getattr(torch, frozen_dtype(setup.precision)), None


def scores_on_test(
    name: str, config: TrialConfig | None, shared: SharedModel, evaluation: Evaluation
) -> TestScore:
    """The scores of an evaluation on the test split, without generated answers.

    ``item_scores`` is empty if the objective is computed from generated answers.
    """
    decisions, context = evaluation.decisions, shared.context
    tests = context.dataset.splits["test"]
    objective = from_decisions(context.objective, context.task, evaluation, tests)
    figure = {context.objective.metric: objective.value} if objective else {}
    items = evaluation.on_all_items(objective.items) if objective else ()
    if objective is None and context.objective.is_loss:
        items = evaluation.scores
    return TestScore(
        name=name,
        trial=config.number if config else None,
        seed=config.seed if config else None,
        test_loss=evaluation.loss,
        metrics=evaluation.metrics | figure,
        item_scores=tuple(map(float, items)),
        item_losses=tuple(evaluation.losses.tolist()),
        item_weights=tuple(evaluation.weights.tolist()),
        items_sha256=items_sha256(tests),
        confusion=decisions.select(evaluation.scored).confusion if decisions else (),
        predicted=tuple(decisions.predicted.tolist()) if decisions else (),
        confidence=tuple(decisions.confidence.round(4).tolist()) if decisions else (),
        texts=_texts(shared, evaluation),
        notes=shared.context.notes("test"),
    )


def items_sha256(examples: Sequence[Example]) -> str:
    """SHA-256 over the content of items, in item order."""
    hashes = "".join(example.content_hash() for example in examples)
    return hashlib.sha256(hashes.encode()).hexdigest()


def _texts(shared: SharedModel, evaluation: Evaluation) -> dict[int, ItemText]:
    """Texts of items for the report: the first items, and those with the highest losses."""
    if shared.context.spec.evaluation.no_texts:
        return {}
    examples = shared.context.dataset.splits["test"]
    scored = np.flatnonzero(evaluation.scored)
    hardest = scored[np.argsort(-evaluation.losses[scored], kind="stable")][:_HARDEST_TEXTS]
    items = sorted({*hardest.tolist(), *scored[:_FIRST_TEXTS].tolist()})
    return {item: _item_text(examples[item]) for item in items}


def _item_text(example: Example) -> ItemText:
    turns = example.messages[:-1]
    labelled_turns = [f"{turn.role}: {turn.content}" for turn in turns]
    prompt = turns[0].content if len(turns) == 1 else "\n\n".join(labelled_turns) or example.text
    return ItemText(
        line=example.line,
        asked=shortened(prompt, TEXT_CHARACTERS),
        reference=shortened(example.answer, TEXT_CHARACTERS),
    )


def with_answers(
    score: TestScore,
    shared: SharedModel,
    model: nn.Module,
    mixed_dtype: Half | None,
    prompt: Callable[[Example], list[int]] | None = None,
) -> TestScore:
    """Add the model's greedy answers to the first test items, if the task has answers.

    If the objective is computed from answers, all items with a score are answered.

    Args:
        score: The score without answers.
        prompt: Function from an example to its prompt's tokens; the task's if None.

    Raises:
        RunError: Programs are to be run, but cannot be isolated from network and files here.
    """
    task, device = shared.context.task, next(model.parameters()).device
    objective, evaluation_spec = shared.context.objective, shared.context.spec.evaluation
    programs = samples(shared.context.spec)  # programs to run for each item
    count = (
        _ANSWERED_ITEMS[device.type]
        if evaluation_spec.generate_items is None
        else evaluation_spec.generate_items
    )
    needs_all = objective.of_answers
    if needs_all:
        count = len(shared.context.dataset.splits["test"])
    tests = zip(shared.context.dataset.splits["test"], score.item_weights, strict=True)
    scored = [(row, example) for row, (example, weight) in enumerate(tests) if weight]
    answered = [(row, example) for row, example in scored if example.messages][:count]
    items = [example for _, example in answered]
    if not isinstance(task, Instruction) or not items:
        return score
    start = time.perf_counter()
    on_progress = shared.context.on_progress
    generate = partial(answer, task, model, items, prompt=prompt, on_progress=on_progress)
    with torch.no_grad(), autocast(device, mixed_dtype):
        answers = generate(run_code=programs > 0)
        metrics, greedy_seconds = answers.metrics, time.perf_counter() - start
        if programs > 1:
            sampling = Sampling(_TEMPERATURE, _TOP_P, programs)
            sampled = generate(sampling=sampling, run_code=True)
            metrics |= {k: v for k, v in sampled.metrics.items() if k.startswith("pass@")}
    computed = from_answers(objective, answers, items, on_progress) if needs_all else None
    generated = GeneratedAnswers(
        items=len(items),
        metrics=metrics,
        places=tuple(row for row, _ in answered),
        item_metrics=item_metrics(answers, items),
        max_tokens=answers.max_tokens,
        seconds=time.perf_counter() - start,
        greedy_seconds=greedy_seconds,
        shown_texts={
            row: shortened(texts[0], TEXT_CHARACTERS)
            for (row, _), texts in zip(answered[:_FIRST_TEXTS], answers.answers, strict=False)
            if not evaluation_spec.no_texts
        },
    )
    if computed is None:
        return score.model_copy(update={"generated": generated})
    item_scores = np.zeros(len(score.item_weights))
    item_scores[[row for row, _ in answered]] = computed.items
    return score.model_copy(
        update={
            "generated": generated,
            "metrics": score.metrics | {objective.metric: computed.value},
            "item_scores": tuple(item_scores.tolist()),
        }
    )
