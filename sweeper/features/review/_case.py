"""One configuration with the facts that sweeper has about its model, data and machine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sweeper.errors import ModelError
from sweeper.facts.gather import gather
from sweeper.facts.machine.hardware import hardware_facts
from sweeper.facts.models.model import model_facts
from sweeper.facts.record import Facts, ModelFacts
from sweeper.features.review._formats import ReadConfiguration
from sweeper.features.review._record import Finding, Given, Training, worded
from sweeper.planning.candidates import RatedModel, rated_model
from sweeper.planning.rulebook.book import rule_book
from sweeper.spec import Scalar, Spec, Task
from sweeper.specfile import resolve
from sweeper.yamlfile import Path_

#: Rows that the evidence is looked up for where none are known.
TYPICAL_ROWS = 10_000
_MODEL: Path_ = ("models", 0, "id")
_DATA, _EXAMPLES, _MAX_LENGTH = ("data", "path"), ("data", "examples"), ("training", "max_length")


@dataclass(frozen=True)
class Case:
    """A configuration and what is known around it.

    Args:
        facts: None where the file names no model, or none that is known.
        counted: Whether the number of rows is known; else ``TYPICAL_ROWS`` stand for it.
        unknown_model: Why there is none.
        on_gpu: Whether a GPU is stated or found. Without one nothing is said about fitting.
    """

    config: ReadConfiguration
    spec: Spec
    facts: Facts | None
    counted: bool
    on_gpu: bool
    problems: tuple[Finding, ...] = ()
    unknown_model: str = ""

    @property
    def training(self) -> Training:
        return self.config.training

    @property
    def model(self) -> ModelFacts | None:
        return self.facts.models[0] if self.facts else None

    @cached_property
    def rated(self) -> RatedModel | None:
        """The rule book's ranges for this model and these data."""
        if self.facts is None:
            return None
        return rated_model(rule_book(self.spec.rules), self.spec, self.facts, self.facts.models[0])

    @property
    def gpus(self) -> int:
        """GPUs that train the model together, as far as is known."""
        stated = (self.training.gpus or 1) * (self.training.nodes or 1)
        return max(stated, self.facts.hardware.gpus if self.facts and self.on_gpu else 1)

    @property
    def micro_batch(self) -> int:
        return self.training.micro_batch or 1

    @property
    def accumulation(self) -> int:
        if (whole := self.training.global_batch) is not None:
            return max(whole // (self.micro_batch * self.gpus), 1)
        return self.training.gradient_accumulation_steps or 1

    @property
    def batch(self) -> int:
        """Examples, or packed sequences, of one optimizer step."""
        return self.micro_batch * self.accumulation * self.gpus

    @property
    def mean_tokens(self) -> float:
        """Tokens of an example on average, cut at the file's sequence length."""
        return self.rated.cap.mean if self.rated else 0.0

    @property
    def longest(self) -> int:
        """Tokens of the longest example that the device sees."""
        if self.rated is None or self.training.sequence_length is not None:
            return self.training.sequence_length or 1
        return self.rated.cap.tokens

    @property
    def examples(self) -> int | None:
        """Examples that are trained on; None where the rows are not known."""
        rows = self.facts.data.rows if self.facts else self.spec.data.examples
        if rows is None or not self.counted:
            return None
        rows = min(rows, self.training.max_rows or rows)
        share = self.training.validation_share or 0
        return max(round(rows * (1 - share)) if share < 1 else rows - round(share), 1)

    @property
    def rows(self) -> int | None:
        """Examples, or packed sequences, of one epoch; None where they are not known."""
        if self.examples is None or not self.training.packing:
            return self.examples
        tokens = self.examples * self.mean_tokens
        return max(math.ceil(tokens / self.longest), 1) if self.facts else None

    @property
    def steps(self) -> int | None:
        """Optimizer steps of the whole training; None where they are not known."""
        stated = max(self.training.max_steps or 0, 0)
        if self.rows is None or (stated and not self.training.steps_per_epoch):
            return stated or None
        epochs, an_epoch = self.training.num_train_epochs or 1, self.rows / self.batch
        if self.config.table.whole_batches:
            an_epoch = math.ceil(self.rows / (self.micro_batch * self.gpus)) // self.accumulation
        counted = max(math.ceil(epochs * an_epoch), 1)
        return min(stated, counted) if stated else counted

    @property
    def warmup_share(self) -> float:
        """The share of the steps over which the rate rises; 0 where it is not known."""
        count = self.training.warmup_steps or 0.0
        if count >= 1:
            return count / self.steps if self.steps else 0.0
        # A number of steps below one is a share, as transformers 5 reads it.
        return count or self.training.warmup_ratio or 0.0

    def given(self, *neutral: str) -> list[Given]:
        """What the file says about these fields of ``Training``."""
        return [self.config.given[name][0] for name in neutral if name in self.config.given]

    def field(self, neutral: str) -> str:
        """What the file, or else the trainer, calls a field of ``Training``."""
        given = self.given(neutral)
        return given[0].field if given else self.config.table.field_of(neutral)

    def written(self, change: Mapping[str, Scalar]) -> dict[str, Scalar] | None:
        """A change of fields of ``Training`` in the trainer's words; None if it lacks some."""
        fields = {neutral: self.field(neutral) for neutral in change}
        write = self.config.table.written
        values = {fields[key]: write(fields[key], key, change[key]) for key in change}
        named = {field: value for field, value in values.items() if value is not None}
        return named if len(named) == len(change) else None

    @property
    def evaluates(self) -> bool:
        """Whether the trainer evaluates while it trains, if there are rows for it."""
        training, table = self.training, self.config.table
        on = str(training.eval_strategy or "no").lower() not in ("no", "false", "none")
        every = bool(training.eval_steps) and "eval_strategy" not in table.defaults
        return on or every or (training.evals_per_epoch or 0) > 0

    def finding(
        self,
        kind: str,
        neutral: tuple[str, ...],
        change: Mapping[str, Scalar] | None = None,
        **more: Any,
    ) -> Finding:
        """A finding about fields of ``Training``, in the words of ``_findings.yaml``.

        Args:
            change: From fields of ``Training`` to values that remove it.
            more: Fields of the finding, and words for its text.
        """
        given = self.given(*neutral)
        named = self.written(change or {}) or {}
        line, fields = given[0].line if given else 0, tuple(item.field for item in given)
        more = {"file": self.config.file, "line": line, "fields": fields, "change": named} | more
        if named:
            more.setdefault("fix", in_words(named))
        return worded(kind, self.config.table.source, **more)


def in_words(change: Mapping[str, Scalar]) -> str:
    """What to set, as a sentence.

    >>> in_words({"bf16": True, "lora_r": 16})
    'Set bf16: true, lora_r: 16.'
    """
    return f"Set {', '.join(f'{name}: {as_written(value)}' for name, value in change.items())}."


def as_written(value: Scalar) -> str:
    """A value as YAML 1.1 and JSON have it, without quotes.

    >>> as_written(3e-05), as_written(True)
    ('3.0e-05', 'true')
    """
    text = str(value).lower() if isinstance(value, bool) else f"{value}"
    return text.replace("e", ".0e") if isinstance(value, float) and "." not in text else text


def case_of(config: ReadConfiguration, flags: Mapping[Path_, Any]) -> Case:
    """A configuration with its model, the data and the machine that the flags name.

    Args:
        flags: Those of ``sweeper plan``. What they say wins over what the file says.

    Raises:
        SweeperError: A flag is wrong, or the data that it names cannot be used.
    """
    training, problems = config.training, config.problems
    task: Task = "domain" if training.stage == "pretraining" else "instruction"
    stated = {_MODEL: training.model, _MAX_LENGTH: training.sequence_length, ("task",): task}
    flags = {path: value for path, value in stated.items() if value} | dict(flags)
    counted = _DATA in flags or _EXAMPLES in flags or training.dataset_rows is not None
    if _DATA not in flags:
        flags.setdefault(_EXAMPLES, training.dataset_rows or TYPICAL_ROWS)
    spec = resolve(flags, needs_model=False)
    on_gpu = hardware_facts(spec.hardware).device == "cuda"
    if not spec.models:
        return Case(config, spec, None, counted, on_gpu, problems, "the file names no model")
    try:
        model = model_facts(spec.models[0])
    except ModelError as error:
        why = f"nothing is known about the model ({error.problems[0].what}); --model names another"
        return Case(config, spec, None, counted, on_gpu, problems, why)
    facts = gather(spec, models=(model,))
    warned = (
        Finding(kind="data", level="warning", file=facts.data.path or "", what=text)
        for text in facts.data.warnings
    )
    return Case(config, spec, facts, counted, on_gpu, (*problems, *warned))
