"""One trainer that a configuration can be written for: a folder of templates and a description.

A folder in ``targets/`` holds ``target.yaml``, which says what the trainer can express, and one
Jinja template for each file that it reads. A template names settings (``settings.py``) where their
values belong. A setting with an effect that no template names is reported as lost.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, meta
from pydantic import Field, TypeAdapter

from sweeper import __version__, yamlfile
from sweeper.data.converting import RowForm
from sweeper.data.examples import Split
from sweeper.errors import Problem, RuleError
from sweeper.exporting.settings import Settings, with_effect
from sweeper.yaml_models import FileModel, checked

_TARGETS = Path(__file__).parent / "targets"
_DESCRIPTION, _TEMPLATE = "target.yaml", ".jinja"


class Target(FileModel):
    """The description of a trainer: ``targets/<name>/target.yaml``."""

    title: str
    checked_with: str = Field(description="the release whose schema the keys were checked against")
    strategies: list[str]
    rows: list[RowForm] = Field(description="forms of rows, the preferred one first")
    tasks_left_out: Mapping[str, str] = Field({}, description="task: why it cannot be expressed")
    differs: Mapping[str, str] = Field(
        {}, description="setting: how the trainer's own differs from ours"
    )
    lost: Mapping[str, str] = Field({}, description="setting: what the trainer has in its place")
    implied: list[str] = Field([], description="settings that others already determine")
    split_names: Mapping[Split, str] = Field({}, description="file names, where they are fixed")
    command: str = Field(description="to train in the exported folder; a Jinja template, too")


@dataclass(frozen=True)
class Lost:
    """A setting that the trainer does not support as it is."""

    setting: str
    value: Any
    why: str

    def __str__(self) -> str:
        return f"{self.setting} = {json.dumps(self.value)}: {self.why}"


def targets() -> dict[str, Target]:
    """Every trainer by its name, from the folders of ``targets/``."""
    return {path.parent.name: _read(path) for path in sorted(_TARGETS.glob(f"*/{_DESCRIPTION}"))}


def _read(path: Path) -> Target:
    problems: list[Problem] = []
    found = checked(TypeAdapter(Target), yamlfile.read(path), (), problems)
    if found is None:
        raise RuleError(problems)
    return found


@dataclass(frozen=True)
class Filled:
    """The files of a trainer, filled with one training.

    Args:
        files: Name to text.
        lost: Settings that the trainer does not take over.
        command: Trains, in the folder of the files.
    """

    files: Mapping[str, str]
    lost: tuple[Lost, ...]
    command: str


def fill(name: str, settings: Settings, form: RowForm) -> Filled:
    """Fill the templates of a trainer."""
    place = _TARGETS / name
    environment = Environment(
        loader=FileSystemLoader(place),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters |= {"yaml": yaml_value, "py": repr}
    values = {"sweeper_version": __version__, "form": form, **settings}
    target, named, files = _read(place / _DESCRIPTION), set[str](), {}
    for template in sorted(place.glob(f"*{_TEMPLATE}")):
        named |= meta.find_undeclared_variables(
            environment.parse(template.read_text(encoding="utf-8"))
        )
        files[template.stem] = environment.get_template(template.name).render(values)
    command = environment.from_string(target.command).render(values)
    return Filled(files, tuple(_lost(target, named, settings)), command)


def _lost(target: Target, named: set[str], settings: Settings) -> Iterator[Lost]:
    for setting, value in with_effect(settings).items():
        if setting in target.differs:
            yield Lost(setting, value, target.differs[setting])
        elif setting not in named and setting not in target.implied:
            why = target.lost.get(setting, f"{target.title} has no such setting")
            yield Lost(setting, value, why)


def yaml_value(value: object) -> str:
    """A value as YAML with the same meaning in versions 1.1 and 1.2.

    >>> yaml_value(2e-05), yaml_value("on"), yaml_value(["q_proj", 1]), yaml_value(None)
    ('2.0e-05', '"on"', '["q_proj", 1]', 'null')
    """
    if isinstance(value, float):
        text = repr(value)
        mantissa, e, exponent = text.partition("e")
        return f"{mantissa}.0e{exponent}" if e and "." not in mantissa else text
    if isinstance(value, list | tuple):
        return f"[{', '.join(yaml_value(one) for one in value)}]"
    if isinstance(value, dict):
        pairs = (f"{json.dumps(key)}: {yaml_value(one)}" for key, one in value.items())
        return f"{{{', '.join(pairs)}}}"
    return json.dumps(value, ensure_ascii=False)
