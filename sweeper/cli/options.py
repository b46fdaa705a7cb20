"""The flags that describe a sweep, declared once for ``plan`` and ``run``.

Each flag sets one key of the spec (``sweeper.specfile.FLAGS`` says which); a command asks for all
of them with ``@takes_spec`` and receives those that were given, by key.
"""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_origin

import typer

from sweeper.errors import Problem, SpecError
from sweeper.specfile import FLAGS, SetItem, laid_over, names, seconds, settings
from sweeper.yamlfile import Path_


def columns(items: list[str]) -> dict[str, str]:
    """``role=column`` pairs as a mapping."""
    bad = [item for item in items if "=" not in item]
    if bad:
        fix = "Write role=column, for example --column text=question."
        raise SpecError(
            [
                Problem(f"expected ROLE=COLUMN, got {item!r}", fix=fix, where="--column")
                for item in bad
            ]
        )
    return dict(item.split("=", 1) for item in items)


@dataclass(frozen=True)
class _Flag:
    path: Path_
    type: Any
    help: str
    panel: str
    parse: Callable[[Any], Any] = lambda value: value
    several: str = ""

    @property
    def name(self) -> str:
        return FLAGS[self.path].lstrip("-").replace("-", "_")

    @property
    def listed(self) -> bool:
        return get_origin(self.type) is list

    def repeated(self, values: Any) -> list[Problem]:
        """Conflicting repeats of a single-value flag. Otherwise the last value wins."""
        if not self.several or len(different := dict.fromkeys(values)) < 2:
            return []
        said = ", ".join(str(value) for value in different)
        why = "It takes one value, and all but the last would be ignored."
        return [Problem(f"{said} were given", why, self.several, FLAGS[self.path])]

    def read(self, values: Any) -> Any:
        return self.parse(values if self.type is bool or self.listed else values[-1])

    def parameter(self) -> inspect.Parameter:
        one = self.type is not bool and not self.listed
        option = typer.Option(
            FLAGS[self.path],
            help=self.help,
            rich_help_panel=self.panel,
            metavar=f"<{self.type.__name__}>" if one else None,
        )
        if self.type is bool:
            annotation: Any = Annotated[bool, option]
            default: Any = False
        else:
            # a list, so that one that is given twice is noticed
            kind = list[self.type] if one else self.type  # type: ignore[name-defined]
            annotation, default = Annotated[kind | None, option], None
        return inspect.Parameter(
            self.name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default
        )


_TASK, _DATA, _MACHINE, _AIM, _SEARCH = "Task and model", "Data", "Hardware", "Aim", "Search"
_TEST = "Test"

_PLAN_FLAGS = (
    _Flag(("task",), str, "classification, instruction, code or domain.", _TASK),
    _Flag(
        ("models", 0, "id"),
        str,
        "Hub id, folder, packaged:NAME, or a size such as 7B.",
        _TASK,
        several="Give it once. For several models, write a sweep.yaml with 'models: [7B, 13B]'.",
    ),
    _Flag(("models", 0, "revision"), str, "Branch, tag or commit of the model on the hub.", _TASK),
    _Flag(("models", 0, "trust_remote_code"), bool, "Run the model's own code.", _TASK),
    _Flag(
        ("data", "path"),
        str,
        "File (JSONL, JSON, CSV, TSV, Parquet, Arrow, xlsx, gz), folder, or hub id.",
        _DATA,
    ),
    _Flag(("data", "name"), str, "Configuration of a data set that has several.", _DATA),
    _Flag(("data", "split"), str, "Split to train on, if it is not called train.", _DATA),
    _Flag(("data", "revision"), str, "Branch, tag or commit of the hub's data set.", _DATA),
    _Flag(("data", "split_by"), str, "stratified, hash, group or time.", _DATA),
    _Flag(("data", "split_column"), str, "Column for --split-by group or time.", _DATA),
    _Flag(("data", "validation"), str, "File with an official validation split.", _DATA),
    _Flag(("data", "test"), str, "File with an official test split.", _DATA),
    _Flag(("data", "corpus"), str, "Text to continue pretraining on (domain task).", _DATA),
    _Flag(("data", "corpus_rows"), int, "Read at most this many documents of it.", _DATA),
    _Flag(("data", "general"), str, "General text for replay and forgetting.", _DATA),
    _Flag(("data", "format"), str, "Format of the rows, if it is not recognised.", _DATA),
    _Flag(
        ("data", "columns"),
        list[str],
        "role=column, or a template: text=question, 'prompt={code} {input}'.",
        _DATA,
        columns,
    ),
    _Flag(("data", "examples"), int, "Plan without data, for this many examples.", _DATA),
    _Flag(("data", "max_rows"), int, "Use at most this many rows.", _DATA),
    _Flag(
        ("curation", "all_safe"),
        bool,
        "Fix what can be fixed safely while rows are read; the files stay as they are.",
        _DATA,
    ),
    _Flag(("hardware", "gpu"), str, "GPU by name, for example 'RTX 4090'.", _MACHINE),
    _Flag(("hardware", "gpu_memory_gib"), float, "Memory of one GPU in GiB.", _MACHINE),
    _Flag(("hardware", "gpus"), int, "Number of GPUs.", _MACHINE),
    _Flag(("hardware", "nodes"), int, "Number of machines.", _MACHINE),
    _Flag(("hardware", "price_per_gpu_hour"), float, "US dollars for one GPU hour.", _MACHINE),
    _Flag(
        ("aim", "strategies"),
        str,
        "Only these strategies, separated by commas.",
        _AIM,
        names,
        several="Give one list with commas: --strategies lora,full.",
    ),
    _Flag(
        ("aim", "budget"),
        str,
        "Limit for search, confirmation and suite: 8gpuh, 30usd or 2h.",
        _AIM,
    ),
    _Flag(("aim", "tasks_on_one_base"), int, "Tasks that will share this base model.", _AIM),
    _Flag(
        ("aim", "domain_distance"),
        str,
        "How far the data are from general text: near or far.",
        _AIM,
    ),
    _Flag(
        ("aim", "margin_points"),
        float,
        "Differences below this many points of the metric do not matter.",
        _AIM,
    ),
    _Flag(
        ("aim", "max_forgetting_points"),
        float,
        "Limit on forgetting: 2 allows 2 points of a suite's scores and 0.02 nats per token of "
        "general text; exit with 5 if the winner lost more.",
        _AIM,
    ),
    _Flag(
        ("training", "epochs"),
        float,
        "Passes over the data in every trial. Without it, the plan chooses.",
        _AIM,
    ),
    _Flag(("training", "max_length"), int, "Cap on tokens of one example.", _AIM),
    _Flag(("training", "precision"), str, "fp32, bf16-mixed, fp16-mixed or bf16-pure.", _AIM),
    _Flag(
        ("training", "classes_by"),
        str,
        "How to classify: head (a linear head) or generate (the model writes the class's name).",
        _TASK,
    ),
    _Flag(
        ("training", "class_weight"),
        str,
        "How much rare classes count in training: none, balanced-sqrt or balanced.",
        _AIM,
    ),
    _Flag(
        ("training", "replay_share"), float, "Share of general text in the training tokens.", _AIM
    ),
    _Flag(
        ("training", "kl_weight"),
        float,
        "Weight of a penalty on the KL divergence from the base.",
        _AIM,
    ),
    _Flag(
        ("training", "early_stopping_patience"),
        int,
        "End a trial after this many rungs (validations) without a better validation loss.",
        _AIM,
    ),
    _Flag(
        ("search", "trials"),
        int,
        "Number of trials in all, over all calls of the command.",
        _SEARCH,
    ),
    _Flag(("search", "seed"), int, "Seed of splits, samplers and trainings.", _SEARCH),
    _Flag(
        ("search", "finalists"),
        int,
        "Number of finalists: best trials that are trained again with further seeds.",
        _SEARCH,
    ),
    _Flag(
        ("search", "confirmation_seeds"),
        int,
        "Number of seeds of each finalist, including the seed of its trial.",
        _SEARCH,
    ),
    _Flag(
        ("search", "data_curve"),
        bool,
        "Train the winner and its default on parts of the rows, too: what would more rows bring? "
        "Also for a run that has ended.",
        _SEARCH,
    ),
    _Flag(
        ("evaluation", "suite"),
        str,
        "lm-eval tasks on which the base and the finalists are scored.",
        _TEST,
    ),
    _Flag(
        ("rules",),
        list[str],
        "Folder with rules of your own, which add to the rule book or override it.",
        _SEARCH,
    ),
)

_RUN_FLAGS = (
    _Flag(
        ("evaluation", "generate_items"),
        int,
        "Test items for which the base and the finalists write answers; 0 for none.",
        _TEST,
    ),
    _Flag(
        ("evaluation", "run_generated_code"),
        bool,
        "Run the code that models write against the tests in the data, without network and files.",
        _TEST,
    ),
    _Flag(("evaluation", "code_samples"), int, "Sampled answers per item, for pass@k.", _TEST),
    _Flag(
        ("evaluation", "no_texts"),
        bool,
        "Keep no rows and no answers for the report to show.",
        _TEST,
    ),
    _Flag(
        ("search", "timeout_seconds"),
        str,
        "End the search after this time: 90s, 15m or 2h.",
        _SEARCH,
        seconds,
    ),
    _Flag(
        ("search", "target_loss"),
        float,
        "End the search at the first completed trial with a validation loss of this or less.",
        _SEARCH,
    ),
    _Flag(
        ("search", "warm_start"),
        bool,
        "Try the best configurations of earlier sweeps on similar data early (kept in "
        "SWEEPER_HOME).",
        _SEARCH,
    ),
    _Flag(
        ("search", "stop_when_settled"),
        bool,
        "End the search once the expected gain of the next trial is below noise.",
        _SEARCH,
    ),
    _Flag(("search", "workers"), int, "Number of worker processes.", _SEARCH),
    _Flag(("search", "executor"), str, "local or ray.", _SEARCH),
    _Flag(
        ("search", "ray_address"),
        str,
        "Address of a Ray cluster. Without it, RAY_ADDRESS or this machine.",
        _SEARCH,
    ),
    _Flag(
        ("search", "storage"),
        str,
        "URL of an Optuna storage to use instead of the run's study.db.",
        _SEARCH,
    ),
    _Flag(
        ("search", "track"),
        list[str],
        "Log the run to mlflow, wandb or tensorboard; give it once for each.",
        _SEARCH,
    ),
)


_SET = inspect.Parameter(
    "settings",
    inspect.Parameter.KEYWORD_ONLY,
    annotation=Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Any key of sweep.yaml, or a parameter of a strategy: lora.r=16, all.optim=sgd, "
            "'lora.learning_rate={low: 1e-5, high: 1e-3, log: true}', max_length=256.",
            metavar="PATH=VALUE",
            rich_help_panel=_AIM,
        ),
    ],
    default=None,
)


def command_of(command: str, flags: Mapping[Path_, Any], file: Path | None) -> str:
    """The command with those flags, ready to paste.

    >>> command_of("sweeper run", {("task",): "code", ("search", "trials"): 5}, None)
    'sweeper run --task code --trials 5'
    """
    words = [str(file)] if file is not None else []
    for path, value in flags.items():
        if isinstance(value, SetItem):
            words += ["--set", value.item]
            continue
        flag = FLAGS[path]
        if isinstance(value, bool):
            words.append(flag)
        elif isinstance(value, Mapping):
            words += [word for role, column in value.items() for word in (flag, f"{role}={column}")]
        elif path == ("aim", "strategies"):
            words += [flag, ",".join(value)]
        elif isinstance(value, list | tuple):
            words += [word for item in value for word in (flag, str(item))]
        else:
            words += [flag, f"{value:g}" if isinstance(value, float) else str(value)]
    return " ".join([command, shlex.join(words)]).rstrip()


def takes_spec(*, run: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add every flag of the spec to a command; it receives those that were set as ``flags``.

    The command's own parameters come first in its help.
    """
    declared = _PLAN_FLAGS + (_RUN_FLAGS if run else ())

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def wrapper(**values: Any) -> None:
            typed = {flag: values.pop(flag.name) for flag in declared}
            typed = {flag: value for flag, value in typed.items() if value}
            if problems := [p for flag, value in typed.items() for p in flag.repeated(value)]:
                raise SpecError(problems)
            given = {flag.path: flag.read(value) for flag, value in typed.items()}
            more = settings(values.pop(_SET.name) or [])
            command(flags=laid_over(given, more), **values)

        own = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in inspect.signature(command, eval_str=True).parameters.values()
            if parameter.name != "flags"
        ]
        parameters = [*own, _SET, *(flag.parameter() for flag in declared)]
        wrapper.__name__, wrapper.__doc__ = command.__name__, command.__doc__
        wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
        return wrapper

    return decorate
