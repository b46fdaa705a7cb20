"""From ``sweep.yaml`` and flags to a ``Spec``, with every problem reported at once.

A problem has its file, line and key (or its flag), the bound that was broken, and the nearest valid
name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from functools import wraps
from itertools import pairwise
from pathlib import Path
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar, get_args

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from sweeper.artifact import require_version
from sweeper.declared.yaml_files import known_strategies
from sweeper.errors import Problem, SpecError, SweeperError, UsageError, near_match
from sweeper.features import loader, parts
from sweeper.parameter_forms import forms_schema, shortened, spelled_out
from sweeper.spec import EVERY_STRATEGY, TASKS, Places, Spec
from sweeper.yaml_models import problem_of
from sweeper.yamlfile import Document, Path_, parse, read

# The flag of every key that has one, so that a bad flag is named as it was typed.
FLAGS: dict[Path_, str] = {
    ("name",): "--name",
    ("task",): "--task",
    ("models", 0, "id"): "--model",
    ("models", 0, "revision"): "--revision",
    ("models", 0, "trust_remote_code"): "--trust-remote-code",
    ("data", "path"): "--data",
    ("data", "name"): "--data-name",
    ("data", "split"): "--data-split",
    ("data", "revision"): "--data-revision",
    ("data", "split_by"): "--split-by",
    ("data", "split_column"): "--split-column",
    ("data", "validation"): "--validation",
    ("data", "test"): "--test",
    ("data", "format"): "--format",
    ("data", "columns"): "--column",
    ("data", "examples"): "--examples",
    ("data", "max_rows"): "--max-rows",
    ("hardware", "gpu"): "--gpu",
    ("hardware", "gpu_memory_gib"): "--gpu-memory",
    ("hardware", "gpus"): "--gpus",
    ("hardware", "nodes"): "--nodes",
    ("hardware", "price_per_gpu_hour"): "--price",
    ("objective", "name"): "--objective",
    ("objective", "direction"): "--objective-direction",
    ("aim", "strategies"): "--strategies",
    ("aim", "budget"): "--budget",
    ("aim", "tasks_on_one_base"): "--tasks-on-one-base",
    ("aim", "domain_distance"): "--domain-distance",
    ("aim", "margin_points"): "--margin",
    ("training", "epochs"): "--epochs",
    ("training", "max_length"): "--max-length",
    ("training", "precision"): "--precision",
    ("training", "classes_by"): "--classes-by",
    ("training", "class_weight"): "--class-weight",
    ("training", "early_stopping_patience"): "--patience",
    ("evaluation", "generate_items"): "--generate-items",
    ("evaluation", "no_texts"): "--no-texts",
    ("search", "trials"): "--trials",
    ("search", "timeout_seconds"): "--timeout",
    ("search", "workers"): "--workers",
    ("search", "executor"): "--executor",
    ("search", "seed"): "--seed",
    ("search", "target_loss"): "--target-loss",
    ("search", "stop_when_settled"): "--stop-when-settled",
    ("search", "finalists"): "--finalists",
    ("search", "confirmation_seeds"): "--confirmation-seeds",
    ("rules",): "--rules",
    **{path: flag.name for path, flag in parts.flags().items() if flag.name},
}


def resolve(
    flags: Mapping[Path_, Any],
    file: Path | Mapping[str, Any] | None = None,
    *,
    needs_model: bool = True,
) -> Spec:
    """Read the file, lay the flags over it, and check the whole.

    Args:
        flags: From the path of a key in the spec to the value of a flag; flags win.
        file: A ``sweep.yaml``, or its keys and values; these are changed.
        needs_model: Whether it is a mistake to name no model.

    Raises:
        OtherVersion: Another version of sweeper wrote the file.
        SpecError: With all problems of file and flags.
    """
    document = _read(file) if isinstance(file, Path) else Document("sweep.yaml", file or {})
    problems = list(document.problems)
    data = document.data if document.data is not None else {}
    if not isinstance(data, dict):
        fix = "Start it with 'task:', 'model:' and 'data:'."
        raise SpecError("this file does not hold keys and values", "", fix, document.name)
    require_version("Spec", data, document.where(("schema_version",)))
    data = _spell_out(dict(data), document, problems)
    moved = _found_from_here(data, file) if isinstance(file, Path) else {}
    for path, value in flags.items():
        _put(data, path, value.value if isinstance(value, SetItem) else value)
    _name_objective(data, file if isinstance(file, Path) else None)
    needed = ("task", "models") if needs_model else ("task",)
    problems += _missing(data, document, needed, from_file=file is not None)
    places = Places(lambda path: _where(path, document, flags), moved)
    if "parameters" in data:
        data["parameters"] = spelled_out(data["parameters"], places.where, problems)
    spec: Spec | None = None
    try:
        spec = Spec.model_validate(data)
    except ValidationError as error:
        problems += [_problem(item, data, places) for item in error.errors()]
    problems += _unknown_strategies(data, places)
    if spec is not None:
        problems += _out_of_place(spec, places)
    if problems or spec is None:
        raise SpecError(_once(problems))
    return spec.given_at(places)


def _read(file: Path) -> Document:
    """The file of a request. The error for a run or for data says what to give instead."""
    try:
        return read(file)
    except UsageError as error:
        runs = [one / "sweep.yaml" for one in (file, Path("runs", file))]
        if run := next((one for one in runs if one.is_file()), None):
            fix = f"It is a run. Give its request: {run}"
        elif file.suffix in (".yaml", ".yml"):
            raise
        else:
            fix = "Give a sweep.yaml here, and data with --data FILE."
        raise UsageError([replace(one, fix=fix) for one in error.problems]) from error


_P = ParamSpec("_P")
_R = TypeVar("_R")


def located(step: Callable[Concatenate[Spec, _P], _R]) -> Callable[Concatenate[Spec, _P], _R]:
    """The step. Its errors that name a key, flag or value of the spec also name file and line."""

    @wraps(step)
    def told(spec: Spec, /, *args: _P.args, **keywords: _P.kwargs) -> _R:
        try:
            return step(spec, *args, **keywords)
        except SweeperError as error:
            error.problems = tuple(_in_request(one, spec) for one in error.problems)
            error.args = ("\n".join(map(str, error.problems)),)
            raise

    return told


_IN_FILE = re.compile(r":\d+ ")


def _in_request(problem: Problem, spec: Spec) -> Problem:
    """The problem with file and line, and with what to do if a path is meant from that file."""
    where = _located(problem.where, spec)
    beside = Path(where.partition(":")[0]).parent / problem.where
    fix = problem.fix
    with suppress(OSError):  # a name may be too long for a file
        if where != problem.where and not Path(problem.where).exists() and beside.exists():
            fix = f"Paths are relative to the current folder: write {beside}."
    return replace(problem, where=where, fix=fix)


def _located(where: str, spec: Spec) -> str:
    """Where a key or flag was given; ``FILE:LINE KEY: VALUE`` for a value of the file."""
    for path, flag in FLAGS.items():
        if where in (flag, _dotted(path)):
            break
        value = _value(spec, path)
        parts = enumerate(value) if isinstance(value, tuple) else ()
        for key, one in ((path, value), *(((*path, n), part) for n, part in parts)):
            if where and where in (given := str(one), os.path.normpath(given)):
                place = spec.places.where(key)
                return f"{place}: {where}" if _IN_FILE.search(place) else where
    else:
        path = tuple(where.split("."))
        if path[0] not in _SECTIONS:
            return where
    place = spec.places.where(path)
    return place if _IN_FILE.search(place) or place.startswith("-") else where


def _dotted(path: Path_) -> str:
    return ".".join(str(part) for part in path)


def _value(spec: Spec, path: Path_) -> object:
    value: Any = spec
    for part in path:
        if isinstance(part, int):
            value = value[part] if len(value) > part else None
        else:
            value = getattr(value, part, None)
    return value


class SetItem(NamedTuple):
    """A value given by ``--set``.

    Args:
        item: Text as it was typed: ``lora.r=16``.
    """

    item: str
    value: Any

    @property
    def flag(self) -> str:
        """The flag up to the value: ``--set lora.r``."""
        return f"--set {self.item.partition('=')[0].strip()}"


def settings(items: Sequence[str]) -> dict[Path_, SetItem]:
    """``PATH=VALUE`` items by the path of their key in ``sweep.yaml``.

    A path begins with a key of ``sweep.yaml``, or with the name of a strategy, whose parameters it
    sets; the name of a key that only one section has is enough. A value is YAML.

    Raises:
        SpecError: An item has no value, no such key, or a key that an earlier one has.
    """
    given: list[tuple[str, SetItem]] = []
    problems: list[Problem] = []
    for item in items:
        name, equals, text = item.partition("=")
        name, flag = name.strip(), f"--set {name.strip()}"
        if not equals or not name or not text.strip():
            fix = "Write PATH=VALUE, for example --set lora.r=16."
            problems.append(Problem(f"{item!r} sets nothing", fix=fix, where="--set"))
            continue
        try:
            document = parse(text, flag)
        except UsageError as error:
            problems += error.problems
            continue
        problems += document.problems
        given.append((name, SetItem(item, document.data)))
    return _set(given, problems)


def settings_of(values: Mapping[str, Any]) -> dict[Path_, SetItem]:
    """The same from a mapping of paths to values.

    Raises:
        SpecError: There is no such key, or a key has two values.
    """
    given = ((name, SetItem(f"{name}={value}", value)) for name, value in values.items())
    return _set(given, [])


def _set(given: Iterable[tuple[str, SetItem]], problems: list[Problem]) -> dict[Path_, SetItem]:
    """Values under the whole paths of their keys."""
    found: dict[Path_, SetItem] = {}
    for name, item in given:
        parts = tuple(int(part) if part.isdigit() else part for part in name.split("."))
        path = _path_of(parts)
        if path is None:
            what, fix = str(parts[0]), near_match(str(parts[0]), _settable(len(parts)))
            problems.append(Problem(f"there is no key {what!r}", fix=fix, where=item.flag))
        elif path in found and found[path].value != item.value:
            problems.append(Problem("given twice", "Its values differ.", "", item.flag))
        else:
            found[path] = item
    if problems:
        raise SpecError(problems)
    return found


def _path_of(parts: Path_) -> Path_ | None:
    """The whole path of a key that is named in short."""
    first = parts[0]
    if first == "model":
        return ("models", 0, *(parts[1:] or ("id",)))
    if first in Spec.model_fields and first not in ("data", "schema_version"):
        return parts
    if first == "data":
        return parts if len(parts) > 1 else ("data", "path")
    if first in (EVERY_STRATEGY, *known_strategies()) and len(parts) > 1:
        return ("parameters", *parts)
    inside = [section for section in _SECTIONS if first in _keys((section,))]
    return (inside[0], *parts) if len(inside) == 1 else None


_SECTIONS = ("data", "hardware", "aim", "training", "search", "evaluation", "features")


def _settable(parts: int) -> list[str]:
    """What a path of one or of several parts may begin with."""
    if parts > 1:
        return [*_keys(()), EVERY_STRATEGY, *known_strategies()]
    return [*_keys(()), *(key for section in _SECTIONS for key in _keys((section,)))]


def laid_over(flags: Mapping[Path_, Any], found: Mapping[Path_, SetItem]) -> dict[Path_, Any]:
    """The flags with what ``--set`` gives.

    Raises:
        SpecError: A key has one value by a flag and another by ``--set``.
    """
    problems = [
        Problem(
            f"{FLAGS[path]} says {flags[path]!r}", "One of them would be ignored.", "", one.flag
        )
        for path, one in found.items()
        if path in flags and flags[path] != one.value
    ]
    if problems:
        raise SpecError(problems)
    return {**flags, **found}


_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> float:
    """Seconds of ``90``, ``90s``, ``15m``, ``2h`` or ``1d``.

    >>> seconds("2h")
    7200.0
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)?", text.strip())
    if match is None:
        fix = "Write 90s, 15m, 2h or 1d."
        raise SpecError(f"{text!r} is not a duration", fix=fix, where="--timeout")
    return float(match[1]) * _SECONDS[match[2] or "s"]


def names(text: str) -> list[str]:
    """The parts of a list with commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def to_yaml(spec: Spec) -> str:
    """The complete spec as ``sweep.yaml``, in the order of its fields.

    Features whose options all have their defaults are left out: a run does not need them.

    Paths are as the run's file gave them, and URLs have no password: a driver finds one in the
    environment or in a file of its own, such as ``PGPASSWORD`` and ``~/.pgpass``.
    """
    fields = parts.without_passwords(spec).model_dump(mode="json")
    used = {name for name, options in spec.features if options != type(options)()}
    fields["features"] = {n: options for n, options in fields["features"].items() if n in used}
    for target, key in _paths(fields):
        target[key] = spec.places.typed(target[key])
    fields["parameters"] = shortened(spec.parameters)
    return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)


def _spell_out(data: dict[str, Any], document: Document, problems: list[Problem]) -> dict[str, Any]:
    """Short forms that people write: ``model: X``, ``data: FILE``."""
    if "model" in data and "models" not in data:
        data["models"] = [data.pop("model")]
        document.lines[("models", 0)] = document.lines.get(("model",), 1)
    if isinstance(data.get("models"), str):
        data["models"] = [data["models"]]
    if isinstance(data.get("models"), list):
        data["models"] = [{"id": m} if isinstance(m, str) else m for m in data["models"]]
    if isinstance(data.get("data"), str):
        data["data"] = {"path": data["data"]}
    objective = data.get("objective")
    if isinstance(objective, dict) and "function" in objective and "name" not in objective:
        objective["name"] = objective.pop("function")
        line = document.lines.get(("objective", "function"), 1)
        document.lines[("objective", "name")] = line
    if isinstance(data.get("trials"), int):
        problems.append(
            Problem(
                f"trials = {data.pop('trials')!r} is a number here",
                "At the top level, trials lists your own configurations to beat.",
                "Write the number of trials as 'search: {trials: 20}'.",
                document.where(("trials",)),
            )
        )
    return data


def _name_objective(data: dict[str, Any], file: Path | None) -> None:
    """``objective: macro_f1``, and the folder of the file that names a function."""
    given = data.get("objective")
    if isinstance(given, str):
        given = data["objective"] = {"name": given}
    if isinstance(given, dict) and ":" in str(given.get("name", "")) and not given.get("folder"):
        given["folder"] = str((file.parent if file else Path()).resolve())


def _found_from_here(data: dict[str, Any], file: Path) -> dict[str, str]:
    """Lead the paths of a run's own file to what they named in the folder where the run began.

    That is the folder that ``runs/NAME`` is in. Returns the new paths with those of the file.
    """
    began = file.absolute().parents[2:3]
    if not began or began[0] == Path.cwd() or not (file.parent / "plan.json").is_file():
        return {}
    moved: dict[str, str] = {}
    for target, key in _paths(data):
        path = target[key] if isinstance(target, list) else target.get(key)
        if isinstance(path, str) and path and (there := began[0] / path).exists():
            target[key] = str(there)
            moved[str(there)] = path
    return moved


def _paths(data: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """The dict or list, and the key, of every value that may be the path of a file or folder."""
    inside = data.get("data")
    given = inside if isinstance(inside, dict) else {}
    rules = data.get("rules")
    lists = (("path", given.get("sources")), ("id", data.get("models")))
    for key in ("path", "validation", "test"):
        yield given, key
    features = data.get("features")
    for (_, feature, key), flag in parts.flags().items():
        options = features.get(feature) if isinstance(features, dict) else None
        if (flag.is_path or flag.commit_in) and isinstance(options, dict):
            yield options, key
    for key, found in (*lists, ("model", data.get("trials"))):
        for one in found if isinstance(found, list) else ():
            yield one if isinstance(one, dict) else {}, key
    yield from ((rules, place) for place in range(len(rules) if isinstance(rules, list) else 0))


def _put(data: dict[str, Any], path: Path_, value: Any) -> None:
    target: Any = data
    for part, following in pairwise(path):
        if isinstance(part, int):
            while len(target) <= part:
                target.append({})
            target = target[part]
            continue
        if not isinstance(target.get(part), list if isinstance(following, int) else dict):
            target[part] = [] if isinstance(following, int) else {}
        target = target[part]
    last = path[-1]
    if path == ("data", "columns") and isinstance(target.get(last), dict):
        value = {**target[last], **value}
    target[last] = value


def _missing(
    data: dict[str, Any], document: Document, needed: tuple[str, ...], *, from_file: bool
) -> list[Problem]:
    """Problems for missing required keys, named as flags or keys as the user gave others."""
    ask = {
        "task": ("--task", f"one of {', '.join(TASKS)}"),
        "models": ("--model", "a hub id, a folder, packaged:minilm, or a size such as 7B"),
    }
    problems = []
    for key, (flag, choices) in ask.items():
        if data.get(key) not in (None, []):
            continue
        data.pop(key, None)
        if key in needed:
            name = key.removesuffix("s")
            where = document.name if from_file else flag
            fix = f"Add '{name}: ...' to the file or {flag}: {choices}."
            problems.append(Problem(f"no {name} is given", fix=fix, where=where))
    return problems


def _problem(item: ErrorDetails, data: object, places: Places) -> Problem:
    loc, kind = item["loc"], item["type"]
    if kind == "missing" and loc == ("task",):
        return Problem("", where="")  # already asked for
    if kind == "extra_forbidden":
        key = str(loc[-1])
        known = _keys(loc[:-1])
        if loc[:-1] == ("features",):
            why = f"Installed: {', '.join(known)}." if known else "No features are installed."
            what, fix = f"no installed feature is called {key!r}", f"Install it, or remove {key}."
            fix = f"{near_match(key, known)} {fix}" if get_close_matches(key, known) else fix
            return Problem(what, why, fix, places.where(loc))
        return Problem(
            f"there is no key {key!r} here", "", near_match(key, known), places.where(loc)
        )
    return problem_of(item, data, TypeAdapter(Spec), places)


def _where(loc: Path_, document: Document, flags: Mapping[Path_, Any]) -> str:
    for end in range(len(loc), 0, -1):
        if loc[:end] in flags:
            given = flags[loc[:end]]
            if isinstance(given, SetItem):
                return _dotted((given.flag, *loc[end:]))
            return FLAGS.get(loc[:end], _dotted(loc[:end]))
    return document.where(loc)


def _keys(path: Path_) -> list[str]:
    """Names of the fields that a mapping at this path may hold."""
    model: Any = Spec
    for part in path:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        if field is None:
            return list(Spec.model_fields)
        options = [field.annotation, *get_args(field.annotation)]
        models = [o for o in options if isinstance(o, type) and issubclass(o, BaseModel)]
        if not models:
            return []
        model = models[0]
    names = [name for name in model.model_fields if name != "schema_version"]
    return [*names, "model"] if model is Spec else names


def _unknown_strategies(data: dict[str, Any], places: Places) -> list[Problem]:
    aim = data.get("aim")
    named: list[tuple[Path_, Any]] = []
    if isinstance(aim, dict) and isinstance(aim.get("strategies"), list | tuple):
        named += [(("aim", "strategies", i), name) for i, name in enumerate(aim["strategies"])]
    if isinstance(data.get("trials"), list):
        named += [
            (("trials", i, "strategy"), trial["strategy"])
            for i, trial in enumerate(data["trials"])
            if isinstance(trial, dict) and "strategy" in trial
        ]
    known = known_strategies()
    every = (*known, EVERY_STRATEGY)
    declared = data.get("parameters")
    keys = declared if isinstance(declared, dict) else {}
    unknown = [(path, name, known) for path, name in named if name not in known]
    unknown += [(("parameters", key), key, every) for key in keys if key not in every]
    return [
        Problem(
            f"there is no strategy {name!r}", "", near_match(str(name), names), places.where(path)
        )
        for path, name, names in unknown
    ]


def _out_of_place(spec: Spec, places: Places) -> list[Problem]:
    """Problems for choices of another task, or without effect."""
    problems: list[Problem] = []

    def refuse(path: Path_, what: str, why: str, fix: str) -> None:
        problems.append(Problem(what, why, fix, places.where(path)))

    executors = ["local", *(feature.name for feature in loader.having("pool"))]
    if spec.search.executor not in executors:
        fix = near_match(spec.search.executor, executors)
        what = f"there is no executor {spec.search.executor!r}"
        refuse(("search", "executor"), what, "", fix)
    task, data = spec.task, spec.data
    if spec.training.classes_by == "generate" and task != "classification":
        why = "Only a classification has classes to tell apart."
        fix = "Leave it out, or choose --task classification."
        refuse(("training", "classes_by"), f"classes_by = 'generate' in task {task}", why, fix)
    if data.examples is not None and data.named is not None:
        why = "A number of examples replaces data; here there are data."
        fix = f"Leave it out; to use at most so many, give --max-rows {data.examples}."
        refuse(("data", "examples"), f"examples = {data.examples} beside {data.named}", why, fix)
    if not data.sources:
        return problems
    for key in ("path", "validation", "test"):
        if getattr(data, key) is not None:
            fix = f"Leave out data.{key}; a source may be a folder with splits of its own."
            refuse(("data", key), f"{key} beside sources", "", fix)
    titles = [source.title for source in data.sources]
    weighted = any(source.weight is not None for source in data.sources)
    for place, (title, source) in enumerate(zip(titles, data.sources, strict=True)):
        at: Path_ = ("data", "sources", place, "path")
        if title in titles[:place]:
            fix = "Give each source a name of its own: name: NAME."
            refuse(at, f"two sources are called {title!r}", "", fix)
        if weighted and source.weight is None:
            why = "Other sources have one, and a weight says nothing without the others."
            refuse(at, f"{title!r} has no weight", why, "Give every source a weight, or none.")
    return problems


def _once(problems: list[Problem]) -> list[Problem]:
    """Each problem once, in the order of the file's lines."""

    def line(problem: Problem) -> int:
        match = re.search(r":(\d+)(?: |$)", problem.where)
        return int(match[1]) if match else 0

    return sorted((p for p in dict.fromkeys(problems) if p.what), key=line)


def json_schema() -> dict[str, Any]:
    """JSON Schema of ``sweep.yaml``, short forms included, for editors to complete and check."""
    schema = Spec.model_json_schema()
    properties = schema["properties"]
    model, data, objective = (
        {"anyOf": [{"type": "string"}, {"$ref": f"#/$defs/{name}Spec"}]}
        for name in ("Model", "Data", "Objective")
    )
    properties["model"] = {**model, "description": "the base model"}
    properties["models"] |= {"items": model}
    for key, forms in (("data", data), ("objective", objective)):
        properties[key] = {**forms, "description": properties[key]["description"]}
    schema["required"] = ["task"]
    schema["anyOf"] = [{"required": ["model"]}, {"required": ["models"]}]
    trial = schema["$defs"]["OwnTrial"]["properties"]
    trial["strategy"] |= {"enum": list(known_strategies())}
    form = forms_schema(schema["$defs"].pop("ParameterSpec"))
    of_one = {"type": "object", "additionalProperties": form, "minProperties": 1}
    properties["parameters"] |= {
        "additionalProperties": False,
        "properties": {
            EVERY_STRATEGY: {**of_one, "description": "of every strategy that has them"},
            **{
                name: {**of_one, "description": f"of the strategy {name}"}
                for name in known_strategies()
            },
        },
    }
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "sweep.yaml"
    return schema
