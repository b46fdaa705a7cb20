"""Gathers the facts about a configuration's model, data and machine."""

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
from sweeper.features.review._reading import ReadConfiguration
from sweeper.features.review._record import FileValue, Finding, Training, finding_of_kind
from sweeper.planning.candidates import RatedModel, rated_model
from sweeper.planning.rulebook.book import rule_book
from sweeper.spec import Scalar, Spec, Task
from sweeper.specfile import resolve
from sweeper.yamlfile import KeyPath

#: The number of rows that is assumed if it is not known.
TYPICAL_ROWS = 10_000
# Keys of the spec.
_MODEL: KeyPath = ("models", 0, "id")
_DATA, _EXAMPLES, _MAX_LENGTH = ("data", "path"), ("data", "examples"), ("training", "max_length")


@dataclass(frozen=True)
class Case:
    """A configuration with the facts about its model, data and machine.

    Args:
        facts: None if the file names no known model.
        knows_rows: Whether the number of rows is known; otherwise ``TYPICAL_ROWS`` is assumed.
        unknown_model: Reason why ``facts`` is None; empty otherwise.
        on_gpu: Whether a GPU is stated or detected. Without one, fit is not checked.
    """

    config: ReadConfiguration
    spec: Spec
    facts: Facts | None
    knows_rows: bool
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
        """Number of GPUs that train together, by the file or the machine, whichever is larger."""
        stated = (self.training.gpus or 1) * (self.training.nodes or 1)
        return max(stated, self.facts.hardware.gpus if self.facts and self.on_gpu else 1)

    @property
    def micro_batch(self) -> int:
        return self.training.micro_batch or 1

    @property
    def accumulation(self) -> int:
        """Micro-batches of one optimizer step."""
        if (batch := self.training.global_batch) is not None:
            return max(batch // (self.micro_batch * self.gpus), 1)
        return self.training.gradient_accumulation_steps or 1

    @property
    def batch(self) -> int:
        """Examples, or packed sequences, of one optimizer step."""
        return self.micro_batch * self.accumulation * self.gpus

    @property
    def mean_tokens(self) -> float:
        """Mean tokens of an example, cut at the file's sequence length; 0 without facts."""
        return self.rated.cap.mean if self.rated else 0.0

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence: the file's limit, or else the plan's; 1 if unknown."""
        if self.rated is None or self.training.sequence_length is not None:
            return self.training.sequence_length or 1
        return self.rated.cap.tokens

    @property
    def examples(self) -> int | None:
        """Number of examples that are trained on; None if not known."""
        rows = self.facts.data.rows if self.facts else self.spec.data.examples
        if rows is None or not self.knows_rows:
            return None
        rows = min(rows, self.training.max_rows or rows)
        share = self.training.validation_share or 0
        return max(round(rows * (1 - share)) if share < 1 else rows - round(share), 1)

    @property
    def sequences(self) -> int | None:
        """Number of examples, or packed sequences, in one epoch; None if not known."""
        if self.examples is None or not self.training.packing:
            return self.examples
        tokens = self.examples * self.mean_tokens
        return max(math.ceil(tokens / self.longest), 1) if self.facts else None

    @property
    def steps(self) -> int | None:
        """Optimizer steps of the whole training; None if not known."""
        stated = max(self.training.max_steps or 0, 0)
        if self.sequences is None or (stated and not self.training.steps_per_epoch):
            return stated or None
        epochs, steps_per_epoch = self.training.num_train_epochs or 1, self.sequences / self.batch
        if self.config.table.whole_batches:
            steps_per_epoch = (
                math.ceil(self.sequences / (self.micro_batch * self.gpus)) // self.accumulation
            )
        full_steps = max(math.ceil(epochs * steps_per_epoch), 1)
        return min(stated, full_steps) if stated else full_steps

    @property
    def warmup_share(self) -> float:
        """The share of the steps over which the learning rate rises; 0 if not known."""
        count = self.training.warmup_steps or 0.0
        if count >= 1:
            return count / self.steps if self.steps else 0.0
        # A number of steps below one is a share, as transformers 5 reads it.
        return count or self.training.warmup_ratio or 0.0

    def file_values(self, *settings: str) -> list[FileValue]:
        """The values of the file for these fields of ``Training``."""
        return [
            self.config.file_values[name][0] for name in settings if name in self.config.file_values
        ]

    def field(self, setting: str) -> str:
        """The name that the file, or else the trainer, has for a field of ``Training``."""
        values = self.file_values(setting)
        return values[0].field if values else self.config.table.field_of(setting)

    def in_file_fields(self, change: Mapping[str, Scalar]) -> dict[str, Scalar] | None:
        """A change of ``Training`` in fields of the file; None if the trainer lacks one of them."""
        fields = {setting: self.field(setting) for setting in change}
        convert = self.config.table.value_in_field
        values = {fields[key]: convert(fields[key], key, change[key]) for key in change}
        in_file = {field: value for field, value in values.items() if value is not None}
        return in_file if len(in_file) == len(change) else None

    @property
    def evaluates(self) -> bool:
        """Whether the trainer is set to evaluate during training. It may still lack rows."""
        training, table = self.training, self.config.table
        has_strategy = str(training.eval_strategy or "no").lower() not in ("no", "false", "none")
        has_interval = bool(training.eval_steps) and "eval_strategy" not in table.defaults
        return has_strategy or has_interval or (training.evals_per_epoch or 0) > 0

    def finding(
        self,
        kind: str,
        settings: tuple[str, ...],
        change: Mapping[str, Scalar] | None = None,
        **details: Any,
    ) -> Finding:
        """A finding about fields of ``Training``, with the text of ``_findings.yaml``.

        Args:
            change: Values of fields of ``Training`` that remove the finding.
            details: Fields of the finding, and values for the placeholders in its text.
        """
        values = self.file_values(*settings)
        in_file = self.in_file_fields(change or {}) or {}
        line, fields = values[0].line if values else 0, tuple(value.field for value in values)
        details = {
            "file": self.config.file, "line": line, "fields": fields, "change": in_file, **details
        }  # fmt: skip
        if in_file:
            details.setdefault("fix", fix_sentence(in_file))
        return finding_of_kind(kind, self.config.table.source, **details)


def fix_sentence(change: Mapping[str, Scalar]) -> str:
    """A sentence with the values to set.

    >>> fix_sentence({"bf16": True, "lora_r": 16})
    'Set bf16: true, lora_r: 16.'
    """
    return f"Set {', '.join(f'{name}: {yaml_text(value)}' for name, value in change.items())}."


def yaml_text(value: Scalar) -> str:
    """A value in YAML 1.1 and JSON, without quotes.

    >>> yaml_text(3e-05), yaml_text(True)
    ('3.0e-05', 'true')
    """
    text = str(value).lower() if isinstance(value, bool) else f"{value}"
    return text.replace("e", ".0e") if isinstance(value, float) and "." not in text else text


def case_of(config: ReadConfiguration, flags: Mapping[KeyPath, Any]) -> Case:
    """A configuration with the facts about its model, and the data and machine of the flags.

    Args:
        flags: Flags of ``sweeper plan``, which override the file.

    Raises:
        SweeperError: A flag is wrong, or the data that it names cannot be used.
    """
    training, problems = config.training, config.problems
    task: Task = "domain" if training.stage == "pretraining" else "instruction"
    stated = {_MODEL: training.model, _MAX_LENGTH: training.sequence_length, ("task",): task}
    flags = {path: value for path, value in stated.items() if value} | dict(flags)
    knows_rows = _DATA in flags or _EXAMPLES in flags or training.dataset_rows is not None
    if _DATA not in flags:
        flags.setdefault(_EXAMPLES, training.dataset_rows or TYPICAL_ROWS)
    spec = resolve(flags, needs_model=False)
    on_gpu = hardware_facts(spec.hardware).device == "cuda"
    if not spec.models:
        return Case(config, spec, None, knows_rows, on_gpu, problems, "the file names no model")
    try:
        model = model_facts(spec.models[0])
    except ModelError as error:
        what = error.problems[0].what
        why = f"nothing is known about the model ({what}); name another with --model"
        return Case(config, spec, None, knows_rows, on_gpu, problems, why)
    facts = gather(spec, models=(model,))
    warnings = (
        Finding(kind="data", level="warning", file=facts.data.path or "", what=text)
        for text in facts.data.warnings
    )
    return Case(config, spec, facts, knows_rows, on_gpu, (*problems, *warnings))
