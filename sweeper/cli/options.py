"""The flags that describe a sweep, declared once for ``plan`` and ``run``.

Each flag sets one key of the spec (see ``sweeper.specfile.FLAGS``) and has the key's type and
description. ``@takes_spec`` adds them to a command, which receives the values of the given flags by
key.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer

from sweeper.errors import SpecError
from sweeper.features import parts
from sweeper.spec import names
from sweeper.specfile import FLAGGED, FLAGS, settings, with_set_items
from sweeper.yamlfile import KeyPath

TrialNumber = Annotated[
    int | None,
    typer.Option("--trial", help="Number of a trial. The recommended one, if not given."),
]
RunName = Annotated[str, typer.Argument(help="Name or folder of a run.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Only the result.")]


def columns(items: list[str]) -> dict[str, str]:
    r"""``role=column`` pairs as a mapping. In a template of columns, ``\n`` is a line break.

    >>> columns(["label=topic", r"text={title}\n{body}"])
    {'label': 'topic', 'text': '{title}\n{body}'}
    """
    for item in items:
        if "=" not in item:
            fix = "Write role=column, for example --column text=question."
            raise SpecError(f"expected ROLE=COLUMN, got {item!r}", fix=fix, where="--column")
    pairs = [item.split("=", 1) for item in items]
    return {role: name.replace(r"\n", "\n") if "{" in name else name for role, name in pairs}


# Panels of the help by section of the spec.
_DEFAULT_PANEL = "Aim"
_PANELS = {
    "task": "Task and model",
    "models": "Task and model",
    "data": "Data",
    "hardware": "Hardware",
    "search": "Search",
    "rules": "Search",
    "evaluation": "Test",
}
_COLUMNS: KeyPath = ("data", "columns")
# Metavars of keys whose values are written as text on the command line, by path.
_METAVARS: dict[KeyPath, str] = {
    _COLUMNS: "ROLE=COLUMN",
    ("rules",): "FOLDER",
    ("search", "timeout_seconds"): "90s|15m|2h",
    ("hardware", "gpu_memory_gib"): "<float>",  # or with its unit
}


def _option_type(annotation: Any) -> Any:
    """The type of the option for a field of the spec."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return _option_type(next(part for part in parts if part is not NoneType))
    if origin in (tuple, dict):
        return list[str]
    if origin is Annotated:
        return _option_type(parts[0])
    return str if origin is Literal else annotation


class _Flag:
    """The flag of a key of the spec, with the key's type and description."""

    def __init__(self, path: KeyPath) -> None:
        self.path = path
        self.flag, self._field = FLAGGED[path]
        kind = _option_type(self._field.annotation)
        self._is_list = get_origin(kind) is list
        self.type = str if path in _METAVARS and not self._is_list else kind
        self._is_comma_list = self._is_list and path not in _METAVARS

    @property
    def name(self) -> str:
        return self.flag.name.lstrip("-").replace("-", "_")

    def read(self, values: Any) -> Any:
        """The value of the flag. If a flag without a list is given several times, the last wins.

        Raises:
            SpecError: Several models are given.
        """
        if self.flag.name == "--model" and len(models := dict.fromkeys(values)) > 1:
            fix = "Give it once. For several models, write a sweep.yaml with 'models: [7B, 13B]'."
            raise SpecError(f"{', '.join(models)} were given", fix=fix, where=self.flag.name)
        if self.path == _COLUMNS:
            return columns(values)
        if self._is_comma_list:
            return names(",".join(values))
        return values if self.type is bool or self._is_list else values[-1]

    def parameter(self) -> inspect.Parameter:
        """The parameter of a command function that typer turns into this flag."""
        name, text, section = self.flag.name, str(self._field.description), str(self.path[0])
        panel = self.flag.panel if section == "features" else _PANELS.get(section, _DEFAULT_PANEL)
        is_scalar = self.type is not bool and not self._is_list
        opposite = f"--{name[5:]}" if name.startswith("--no-") else f"--no-{name[2:]}"
        metavar = (
            f"<{self.type.__name__}>" if is_scalar else "A,B,..." if self._is_comma_list else ""
        )
        option = typer.Option(
            f"{name}/{opposite}" if self.type is bool else name,
            help=f"{text[:1].upper()}{text[1:]}.",
            rich_help_panel=panel,
            metavar=_METAVARS.get(self.path, metavar),
        )
        # A list shows that a flag is given twice.
        kind: Any = list[self.type] if is_scalar else self.type  # type: ignore[name-defined]
        kind = Annotated[kind | None, option]
        keyword = inspect.Parameter.KEYWORD_ONLY
        return inspect.Parameter(self.name, keyword, annotation=kind, default=None)


@cache
def spec_flags(*, run: bool) -> tuple[_Flag, ...]:
    """The flags of ``plan``, or of ``run``."""
    flags = [_Flag(path) for path in FLAGS if path != ("name",)]
    return tuple(flag for flag in flags if run or flag.flag.plan)


_SET_PARAMETER = inspect.Parameter(
    "settings",
    inspect.Parameter.KEYWORD_ONLY,
    annotation=Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Any key of sweep.yaml, or a parameter of a strategy: lora.r=16, all.optim=sgd, "
            "'lora.learning_rate={low: 1e-5, high: 1e-3, log: true}', max_length=256.",
            metavar="PATH=VALUE",
            rich_help_panel=_DEFAULT_PANEL,
        ),
    ],
    default=None,
)


def takes_spec(
    *, run: bool = False, sections: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator that adds the spec's flags to a command, which receives the given ones in
    ``flags``.

    The command's own parameters come first in its help.

    Args:
        sections: Top-level keys of ``sweep.yaml``: only their flags are added. If empty, all flags
            and ``--set``.
    """
    flags = spec_flags(run=run)
    if not sections:
        return _with_flags(flags, _SET_PARAMETER)
    return _with_flags(tuple(flag for flag in flags if flag.path[0] in sections))


def takes_limits() -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator that adds the flags that limit measures of trials."""
    paths = (path for path, flag in parts.flags().items() if flag.limit)
    return _with_flags(tuple(_Flag(path) for path in paths))


def _with_flags(
    flags: tuple[_Flag, ...], *extra_parameters: inspect.Parameter
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def wrapper(**values: Any) -> None:
            raw_values = {flag: values.pop(flag.name) for flag in flags}
            given = {flag: value for flag, value in raw_values.items() if value not in (None, [])}
            flag_values = {flag.path: flag.read(value) for flag, value in given.items()}
            set_items = settings(values.pop(_SET_PARAMETER.name, None) or [])
            command(flags=with_set_items(flag_values, set_items), **values)

        own_parameters = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in inspect.signature(command, eval_str=True).parameters.values()
            if parameter.name != "flags"
        ]
        parameters = [*own_parameters, *extra_parameters, *(flag.parameter() for flag in flags)]
        wrapper.__name__, wrapper.__doc__ = command.__name__, command.__doc__
        wrapper.__module__ = command.__module__
        wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
        return wrapper

    return decorate
