"""One configuration with the facts that sweeper has about its model, data and machine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sweeper.errors import ModelError, UsageError
from sweeper.facts.gather import gather
from sweeper.facts.machine.hardware import hardware_facts
from sweeper.facts.models.model import model_facts
from sweeper.facts.record import Facts, ModelFacts
from sweeper.features.review._formats import Configuration, matches
from sweeper.features.review._record import Finding, Given, Level, Training
from sweeper.planning.candidates import RatedModel, rated_model
from sweeper.planning.rulebook.rules import rule_book
from sweeper.spec import HardwareSpec, Scalar, Spec, Task
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
        model: None where the file names none, or none that is known.
        facts: None without a model.
        counted: Whether the number of rows is known; else ``TYPICAL_ROWS`` stand for it.
        unknown_model: Why there is none.
        on_gpu: Whether a GPU is stated or found. Without one nothing is said about fitting.
    """

    config: Configuration
    spec: Spec | None
    model: ModelFacts | None
    facts: Facts | None
    counted: bool
    on_gpu: bool
    problems: tuple[Finding, ...] = ()
    unknown_model: str = ""

    @property
    def training(self) -> Training:
        return self.config.training

    @cached_property
    def rated(self) -> RatedModel | None:
        """The rule book's ranges for this model and these data."""
        if self.spec is None or self.facts is None or self.model is None:
            return None
        return rated_model(rule_book(self.spec.rules), self.spec, self.facts, self.model)

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
        if self.rated is None:
            return 0.0
        longest = self.training.sequence_length or self.rated.cap.tokens
        return min(self.rated.cap.mean, float(longest))

    @property
    def longest(self) -> int:
        """Tokens of the longest example that the device sees."""
        if self.rated is None or self.training.sequence_length is not None:
            return self.training.sequence_length or 1
        return self.rated.cap.tokens

    @property
    def rows(self) -> int | None:
        """Examples, or packed sequences, of one epoch; None where the rows are not known."""
        if self.facts is None or not self.counted:
            return None
        rows = min(self.facts.data.rows, self.training.max_rows or self.facts.data.rows)
        share = self.training.validation_share or 0
        rows = max(round(rows * (1 - share)) if share < 1 else rows - round(share), 1)
        if self.training.packing:
            rows = max(math.ceil(rows * self.mean_tokens / self.longest), 1)
        return rows

    @property
    def steps(self) -> int | None:
        """Optimizer steps of the whole training; None where they are not known."""
        stated = self.training.max_steps
        if self.rows is None:
            return stated if stated and stated > 0 else None
        epochs = self.training.num_train_epochs or 1
        counted = max(math.ceil(epochs * self.rows / self.batch), 1)
        if stated and stated > 0:
            return min(stated, counted) if self.training.steps_per_epoch else stated
        return counted

    @property
    def half(self) -> bool:
        """Whether products are computed in 16 bits."""
        one = self.training
        return bool(one.bf16 or one.fp16 or one.pure_bf16) or one.precision not in (None, "fp32")

    def given(self, *neutral: str) -> list[Given]:
        """What the file says about these fields of ``Training``."""
        return [self.config.given[name][0] for name in neutral if name in self.config.given]

    def field(self, neutral: str) -> str:
        """What the file, or else the trainer, calls a field of ``Training``."""
        given = self.given(neutral)
        return given[0].field if given else self.config.table.field_of(neutral)

    def written(self, change: Mapping[str, Scalar]) -> dict[str, Scalar] | None:
        """A change of fields of ``Training`` in the trainer's words; None if it lacks some."""
        named: dict[str, Scalar] = {}
        for neutral, value in change.items():
            field = self.field(neutral)
            written = self.config.table.written(field, neutral, value)
            if written is None:
                return None
            named[field] = written
        return named

    def finding(
        self,
        kind: str,
        level: Level,
        neutral: tuple[str, ...],
        what: str,
        *,
        change: Mapping[str, Scalar] | None = None,
        **more: Any,
    ) -> Finding:
        """A finding about these fields, with the names that the file has for them.

        Args:
            change: From fields of ``Training`` to values that remove it.
        """
        given = self.given(*neutral)
        named = self.written(change or {}) or {}
        if named and not more.get("fix"):
            more["fix"] = in_words(named)
        return Finding(
            kind=kind,
            level=level,
            fields=tuple(one.field for one in given),
            file=self.config.file,
            line=given[0].line if given else 0,
            what=what,
            change=named,
            **more,
        )


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


def case_of(config: Configuration, flags: Mapping[Path_, Any]) -> Case:
    """A configuration with its model, the data and the machine that the flags name.

    Args:
        flags: Those of ``sweeper plan``. What they say wins over what the file says.

    Raises:
        SweeperError: A flag is wrong, or the data that it names cannot be used.
    """
    training, problems = config.training, list(config.problems)
    flags = dict(flags)
    task: Task = "domain" if training.stage == "pretraining" else "instruction"
    flags.setdefault(("task",), task)
    if _EXAMPLES not in flags and (data := flags.get(_DATA, _local_data(config))):
        flags[_DATA] = data
    counted = _DATA in flags or _EXAMPLES in flags
    if not counted:
        flags[_EXAMPLES] = TYPICAL_ROWS
    if training.sequence_length:
        flags.setdefault(_MAX_LENGTH, training.sequence_length)
    if training.model:
        flags.setdefault(_MODEL, training.model)
    on_gpu = hardware_facts(_hardware(flags)).device == "cuda"
    if _MODEL not in flags:
        return Case(config, None, None, None, counted, on_gpu, tuple(problems))
    spec = resolve(flags)
    try:
        model = model_facts(spec.models[0])
    except (ModelError, UsageError) as error:
        told = f"nothing is known about the model ({error.problems[0].what}); --model names another"
        return Case(config, None, None, None, counted, on_gpu, tuple(problems), told)
    facts = gather(spec, models=(model,))
    problems += [
        Finding(kind="data", level="warning", file=facts.data.path or "", what=text)
        for text in facts.data.warnings
    ]
    return Case(config, spec, model, facts, counted, on_gpu, tuple(problems))


def _hardware(flags: Mapping[Path_, Any]) -> HardwareSpec:
    stated = {path[1]: value for path, value in flags.items() if path[0] == "hardware"}
    return HardwareSpec.model_validate(stated)


def _local_data(config: Configuration) -> str | None:
    """The training data that the file names, where they lie beside it or in the current folder."""
    names = config.training.train_data or ()
    if len(names) != 1 or matches(names[0], "/*|~*"):
        return None
    for folder in (Path(config.file).parent, Path()):
        path = folder / names[0]
        try:
            if path.suffix in (".jsonl", ".json", ".csv", ".tsv", ".parquet") and path.is_file():
                return str(path)
        except (OSError, ValueError):
            return None
    return None
