"""The training backend of a worker: loads once, trains many.

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

from sweeper.backend import Decision, Tell, Underway
from sweeper.child_process import GPU_SHARE
from sweeper.data.examples import Dataset, Example
from sweeper.data.prepared import prepared_data
from sweeper.evaluation.evaluator import Evaluator, autocast
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
from sweeper.plans import Candidate, Half, Plan, autocast_dtype, half_of
from sweeper.runfolder import WEIGHTS, RunFolder
from sweeper.spec import EvaluationSpec, Spec
from sweeper.strategies.strategy import strategy as strategy_named
from sweeper.tasks.fewshot import FewShot, ZeroShot
from sweeper.tasks.instruction import Instruction
from sweeper.tasks.task import Baseline, Evaluation
from sweeper.training.base_model.context import ModelContext
from sweeper.training.base_model.shared import SharedModel
from sweeper.training.base_model.weights import weights_folder
from sweeper.training.measurements import keep
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
from sweeper.visible import TEXT_CHARACTERS, shortened

# Items that are answered unless the user says otherwise: on a CPU, where each token of an answer is
# a pass of its own through all weights, no more than a comparison of answers needs.
_ITEMS = {"cpu": 20, "cuda": 256}
# Test items whose texts are kept to be shown: the first ones, which are a random sample since items
# are ordered by hash, and those with the highest losses of each model.
_FIRST, _HARDEST = 48, 40
# Of sampled programs (arXiv:2107.03374, section 3: temperature 0.8 for many samples, nucleus 0.95).
_TEMPERATURE, _TOP_P = 0.8, 0.95


def make(run: RunFolder, plan: Plan, spec: Spec, tell: Tell) -> TorchBackend:
    """A backend for a run; data and models are loaded when first needed."""
    if (share := os.environ.get(GPU_SHARE)) and torch.cuda.is_available():
        # One that takes more runs out of memory itself, and not its neighbours.
        torch.cuda.set_per_process_memory_fraction(float(share))
    return TorchBackend(plan, spec, run.path, tell=tell)


class TorchBackend:
    """Trains and scores with the models and the data of one plan.

    Args:
        plan: Frozen; says how long sequences are and what is known of the models.
        device: Where to train; a GPU if there is one and this is None.
        tell: Takes how far work without rungs is.
        dataset: What to train on; loaded as the spec says if None.
    """

    def __init__(
        self,
        plan: Plan,
        spec: Spec,
        run: Path | None = None,
        device: torch.device | None = None,
        tell: Tell = lambda _what, _done, _of: None,
        dataset: Dataset | None = None,
    ) -> None:
        self._underway = Underway(tell)
        self._run = run
        self._plan = plan
        self._spec = spec
        best = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._device = device or best
        record = RunFolder(run).data_changes if run else None
        self._dataset = dataset or prepared_data(spec, record).dataset
        self._shared: dict[str, SharedModel] = {}

    def shared(self, model: str) -> SharedModel:
        """The data that all trials of one base model share, loaded on first use."""
        if model not in self._shared:
            if self._device.type == "cuda":
                self.close()
            self._underway(f"loading {model}", 0, 0)
            self._shared[model] = self._open(model)
            # What is loaded now stays; leaving it out of garbage collection makes each of the
            # collections that Trainer asks for cheap (measured: 24 steps of a tiny model take
            # 0.45 s and not 2.5 s).
            gc.collect()
            gc.freeze()
        return self._shared[model]

    def shared_by(self, config: TrialConfig) -> SharedModel:
        """The same for one trial, which may train on a part of the rows."""
        shared = self.shared(config.model)
        return shared.part(config.train_rows, config.seed) if config.train_rows else shared

    def _open(self, model: str) -> SharedModel:
        # The plan has the model's path as it was typed, the spec as it is found from here.
        models = zip(self._spec.models, self._plan.facts.models, strict=True)
        named, facts = next((named, facts) for named, facts in models if facts.id == model)
        candidate = self._plan.of_base(model)
        dtype, quantization_config = _base_form(candidate, self._device)
        context = ModelContext(
            named,
            facts,
            weights_folder(named, facts, self._underway),
            self._dataset,
            self._spec,
            candidate.sequence_length,
            candidate.evaluation_batch,
            self._device,
            mixed=autocast_dtype(candidate.precision),
            underway=self._underway,
            objective=self._plan.objective,
            base_dtype=dtype,
            quantization_config=quantization_config,
            fused=self._device.type == "cuda"
            and self._plan.facts.hardware.fused_kernels
            and find_spec("liger_kernel") is not None,
        )
        return SharedModel(context)

    def baselines(self) -> Iterator[BaselineResult]:
        for compared in self._compared.values():
            yield compared.on_validation()
        for baseline in self.shared(self._plan.candidates[0].model).baselines:
            start = time.perf_counter()
            self._underway.title = baseline.title
            try:
                evaluation = baseline.evaluate("validation")
                score = self._objective_of(baseline, evaluation, "validation")
            finally:
                self._underway.title = ""
            yield BaselineResult(
                name=baseline.name,
                title=baseline.title,
                validation_loss=evaluation.loss,
                objective=score.value if score else None,
                metrics=evaluation.metrics | self._figure(score),
                item_losses=tuple(evaluation.losses.tolist()),
                item_weights=tuple(evaluation.weights.tolist()),
                seconds=time.perf_counter() - start,
                note=baseline.note,
            )

    @cached_property
    def _compared(self) -> dict[str, parts.OutsideModel]:
        """Models that features compare with, by name."""
        context = self.shared(self._plan.candidates[0].model).context
        return {model.name: model for _, hook in parts.BASELINES.all() for model in hook(context)}

    def _figure(self, score: ObjectiveScore | None) -> dict[str, float]:
        return {self._plan.objective.metric: score.value} if score else {}

    def _objective_of(
        self, baseline: Baseline, evaluation: Evaluation, split: Split
    ) -> ObjectiveScore | None:
        """The objective of a baseline; None where it is the loss, or of answers that the baseline
        does not write."""
        context = self.shared(self._plan.candidates[0].model).context
        objective, examples = self._plan.objective, self._dataset.splits[split]
        if isinstance(baseline, ZeroShot | FewShot) and objective.of_answers:
            base, underway = context.base(), self._underway
            with torch.no_grad(), context.computing():
                asked = evaluation.scored_examples(examples)
                return from_generation(
                    objective, context.task, base, asked, underway, baseline.prompt
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
        shared = self.shared_by(config)
        self._underway.should_stop = should_stop
        try:
            job = TrialJob(shared, config, folder, report, self._run, checkpoint)
            if config.gpus > 1:
                job.plan = self._plan
            result = train_trial(job)
            context = shared.context
            whole = len(context.dataset.splits["validation"])
            keep(config, result, context.facts, context.head_classes, job.reports, whole)
            return result
        finally:
            self._underway.should_stop = lambda: False

    def score_test(self, name: str, config: TrialConfig | None, folder: Path | None) -> TestScore:
        """Score a trial's saved weights, or a baseline by name, on the sealed test split.

        Raises:
            KeyError: There is no baseline of that name.
        """
        if config is None and name in self._compared:
            return self._compared[name].on_test()
        if config is None or folder is None:
            shared = self.shared(self._plan.candidates[0].model)
            baselines = {baseline.name: baseline for baseline in shared.baselines}
            baseline, context = baselines[name], shared.context
            score = scored(name, None, shared, baseline.evaluate("test"))
            if not isinstance(baseline, ZeroShot | FewShot):
                return score
            wanted, base = self._spec.evaluation, context.base()
            programs = samples(self._spec)
            return answered(score, shared, base, wanted, programs, context.mixed, baseline.prompt)
        shared = self.shared(config.model)
        mixed = autocast_dtype(config.precision)
        evaluator = Evaluator(
            shared.context.task,
            shared.context.items("test"),
            config.evaluation_batch,
            mixed,
            underway=self._underway.steps("scoring test"),
        )
        with trained(shared, folder / WEIGHTS) as model:
            start = time.perf_counter()
            evaluation = evaluator.evaluate(model)
            took = {"seconds": time.perf_counter() - start}
            score = scored(name, config, shared, evaluation).model_copy(update=took)
            if not self._writes(config):
                return score
            programs = samples(self._spec)
            with strategy_named(config.strategy).merged(model):
                return answered(score, shared, model, self._spec.evaluation, programs, mixed)

    def _writes(self, config: TrialConfig) -> bool:
        """Whether a trial answers in writing, which takes its time: finalists and defaults do, and
        of their trainings the first; all of them where answers are the objective."""
        if self._plan.objective.of_answers:
            return True
        seal = RunFolder(self._run).test_seal if self._run is not None else None
        finalist = seal is None or not seal.exists() or config.number in TestSeal.read(seal).order
        return (finalist or config.origin == "default") and config.seed == self._plan.seed

    def close(self) -> None:
        for shared in self._shared.values():
            shared.context.lent_base.forget()
            shared.bases.forget()
        self._shared.clear()
        gc.unfreeze()
        gc.collect()


def _base_form(candidate: Candidate, device: torch.device) -> tuple[torch.dtype, Any]:
    """The dtype and the quantisation of a model's untrained base."""
    strategy = strategy_named(candidate.strategy)
    if candidate.quantization is not None:
        dtype = strategy.base_dtype(candidate.precision)
        return dtype, strategy.quantization_config(candidate.defaults(), dtype=dtype)
    if device.type == "cpu" or candidate.precision == "fp32":
        return torch.float32, None
    return getattr(torch, half_of(candidate.precision)), None


def scored(
    name: str, config: TrialConfig | None, shared: SharedModel, evaluation: Evaluation
) -> TestScore:
    """The scores of an evaluation on the test split, without written answers."""
    decided, context = evaluation.decisions, shared.context
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
        loss=evaluation.loss,
        metrics=evaluation.metrics | figure,
        item_scores=tuple(map(float, items)),
        item_losses=tuple(evaluation.losses.tolist()),
        item_weights=tuple(evaluation.weights.tolist()),
        items_sha256=items_sha256(tests),
        confusion=decided.select(evaluation.scored).confusion if decided else (),
        predicted=tuple(decided.predicted.tolist()) if decided else (),
        confidence=tuple(decided.confidence.round(4).tolist()) if decided else (),
        texts=_texts(shared, evaluation),
        notes=shared.context.notes("test"),
    )


def items_sha256(examples: Sequence[Example]) -> str:
    """SHA-256 over the content of items, in item order."""
    hashes = "".join(example.content_hash() for example in examples)
    return hashlib.sha256(hashes.encode()).hexdigest()


def _texts(shared: SharedModel, evaluation: Evaluation) -> dict[int, ItemText]:
    """Items that a reader may want to see: the first ones, and those with the highest losses."""
    if shared.context.spec.evaluation.no_texts:
        return {}
    examples = shared.context.dataset.splits["test"]
    scored = np.flatnonzero(evaluation.scored)
    hardest = scored[np.argsort(-evaluation.losses[scored], kind="stable")][:_HARDEST]
    chosen = sorted({*hardest.tolist(), *scored[:_FIRST].tolist()})
    return {item: _item_text(examples[item]) for item in chosen}


def _item_text(example: Example) -> ItemText:
    turns = example.messages[:-1]
    several = [f"{turn.role}: {turn.content}" for turn in turns]
    asked = turns[0].content if len(turns) == 1 else "\n\n".join(several) or example.text
    return ItemText(
        line=example.line,
        asked=shortened(asked, TEXT_CHARACTERS),
        reference=shortened(example.answer, TEXT_CHARACTERS),
    )


def answered(
    score: TestScore,
    shared: SharedModel,
    model: nn.Module,
    wanted: EvaluationSpec,
    programs: int,
    mixed: Half | None,
    prompt: Callable[[Example], list[int]] | None = None,
) -> TestScore:
    """The scores with the model's greedy answers to the first test items, if it writes any.

    To all of them where the objective is computed from answers. Items that were not scored are left
    out.

    Args:
        score: Without answers.
        wanted: How many items.
        programs: Answers to each item whose programs are run; 0 to run none.
        prompt: The tokens that ask for an item's answer; the task's prompt if None.

    Raises:
        RunError: Programs are to be run, but cannot be cut off from network and files here.
    """
    task, device = shared.context.task, next(model.parameters()).device
    objective = shared.context.objective
    count = _ITEMS[device.type] if wanted.generate_items is None else wanted.generate_items
    compares = objective.of_answers
    if compares:
        count = len(shared.context.dataset.splits["test"])
    tests = zip(shared.context.dataset.splits["test"], score.item_weights, strict=True)
    scored = [(row, example) for row, (example, weight) in enumerate(tests) if weight]
    chosen = [(row, example) for row, example in scored if example.messages][:count]
    items = [example for _, example in chosen]
    if not isinstance(task, Instruction) or not items:
        return score
    start = time.perf_counter()
    underway = shared.context.underway
    ask = partial(answer, task, model, items, prompt=prompt, underway=underway)
    with torch.no_grad(), autocast(device, mixed):
        answers = ask(run_code=programs > 0)
        metrics, greedy = answers.metrics, time.perf_counter() - start
        if programs > 1:
            sampling = Sampling(_TEMPERATURE, _TOP_P, programs)
            tried = ask(sampling=sampling, run_code=True)
            metrics |= {k: v for k, v in tried.metrics.items() if k.startswith("pass@")}
    computed = from_answers(objective, answers, items, underway) if compares else None
    generated = GeneratedAnswers(
        items=len(items),
        metrics=metrics,
        places=tuple(row for row, _ in chosen),
        item_metrics=item_metrics(answers, items),
        most_tokens=answers.most_tokens,
        seconds=time.perf_counter() - start,
        greedy_seconds=greedy,
        said={
            row: shortened(texts[0], TEXT_CHARACTERS)
            for (row, _), texts in zip(chosen[:_FIRST], answers.answers, strict=False)
            if not wanted.no_texts
        },
    )
    if computed is None:
        return score.model_copy(update={"generated": generated})
    item_scores = np.zeros(len(score.item_weights))
    item_scores[[row for row, _ in chosen]] = computed.items
    return score.model_copy(
        update={
            "generated": generated,
            "metrics": score.metrics | {objective.metric: computed.value},
            "item_scores": tuple(item_scores.tolist()),
        }
    )
