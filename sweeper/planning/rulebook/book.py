"""The rule book: the rules of ``search_spaces/rules/``, of features and of the user's folders.

Rules are applied in the order of their files' names and of their lines, the user's own last. Where
two set the same value, the later one wins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field, PrivateAttr, TypeAdapter

from sweeper import resources
from sweeper.errors import Problem, RuleError, near_match
from sweeper.features.loader import yaml_folders
from sweeper.planning.rulebook.conditions import ALWAYS, Condition
from sweeper.planning.rulebook.effects import (
    QUESTIONS,
    Effects,
    Filled,
    Question,
    RuleContext,
    StrategyName,
    fill,
)
from sweeper.planning.rulebook.fact import Values
from sweeper.planning.rulebook.strategy_files import BookStrategy, Text, load_strategies
from sweeper.traits.traits import installed_folders, strategy_files
from sweeper.yamlfile import Document, FileModel, checked, read_all


class Note(FileModel):
    """Texts that the plan shows where ``when`` holds. Only a ``Rule`` changes the plan as well."""

    id: str = Field(pattern="^[a-z0-9]+(-[a-z0-9]+)*$")
    when: Condition = ALWAYS
    warning: Filled | None = Field(None, description="a warning about the whole plan")
    advice: Filled | None = Field(None, description="advice about the whole plan")
    caution: dict[StrategyName, Filled] = Field(
        {}, description="what to watch out for with a strategy"
    )
    answer: dict[Question, Filled] = Field({}, description="a sentence of the answer to a question")
    source: Text
    _where: str = PrivateAttr("")
    _layer: int = PrivateAttr(0)

    @property
    def where(self) -> str:
        """File and line."""
        return self._where

    @property
    def layer(self) -> int:
        """Position of the rule's folder, 0 for the package's; the rules of later folders win."""
        return self._layer

    def model_post_init(self, context: object, /) -> None:
        if isinstance(context, RuleContext):
            self._where, self._layer = context.where, context.layer

    def lines(self, values: Values) -> tuple[str, ...]:
        """The effects and texts, one line each, filled with the values of the facts."""
        texts = [("warning:", self.warning), ("advice:", self.advice)]
        texts += [(f"caution about {name}:", text) for name, text in self.caution.items()]
        texts += [(QUESTIONS[name], text) for name, text in self.answer.items()]
        return tuple(f"{kind} {fill(text, values)}" for kind, text in texts if text)


class Rule(Note):
    """A note that also changes the plan: ``then`` says how, and ``why`` gives the reason."""

    title: Text
    effects: Effects = Field(alias="then")
    why: Filled

    def lines(self, values: Values) -> tuple[str, ...]:
        return (*self.effects.lines(), *super().lines(values))


RULE: TypeAdapter[Rule] = TypeAdapter(Rule)
NOTE: TypeAdapter[Note] = TypeAdapter(Note)
# An entry of a file is a note if it has a key of the first set and none of the second.
_NOTE_KEYS = frozenset({"warning", "advice", "caution", "answer"})
_RULE_KEYS = frozenset({"title", "then", "why"})


class RuleBook(NamedTuple):
    """All rules and notes in the order they are applied, and all strategies by name."""

    rules: tuple[Note, ...]
    strategies: Mapping[str, BookStrategy]


def rule_book(own: tuple[str, ...] = ()) -> RuleBook:
    """The rules of the package, of installed packages and, after them, of the user's own folders.

    Args:
        own: Folders that hold rule files (``*.yaml`` or ``rules/*.yaml``) and perhaps
            ``strategies/*.yaml``. A rule with a known id replaces that rule.

    Raises:
        RuleError: A file has mistakes; the error lists the problems of all files.
    """
    shipped = resources.search_spaces()
    return _load(shipped, own) if own else _shipped(shipped)


@lru_cache(maxsize=1)
def _shipped(folder: Path) -> RuleBook:
    return _load(folder, ())


def _load(shipped: Path, own: tuple[str, ...]) -> RuleBook:
    installed = strategy_files()
    problems = list(installed.problems)
    folders = [*installed_folders(), *(Path(folder).expanduser() for folder in own)]
    for folder_name in [*map(str, installed_folders()), *own]:
        if not Path(folder_name).expanduser().is_dir():
            fix = "Check the path, relative to the current folder."
            problems.append(Problem("this folder of rules does not exist", "", fix, folder_name))
    strategy_folders = (shipped / "strategies", *(folder / "strategies" for folder in folders))
    next_to_classes = [p for p in installed.paths.values() if p.parent not in strategy_folders]
    strategies = load_strategies(strategy_folders, problems, next_to_classes)
    for name, strategy in strategies.items():
        if name not in installed.paths:
            what = f"no installed package brings the strategy {name!r}"
            why = "A folder of rules changes the parameters of strategies that are installed."
            fix = near_match(name, installed.paths)
            problems.append(Problem(what, why, fix, strategy.where if strategy else ""))
    rules: dict[str, Note] = {}
    for layer, folder in enumerate((shipped, *folders)):
        if folder.is_dir() and not (_rule_files(folder) or (folder / "strategies").is_dir()):
            fix = "Put *.yaml files with rules in it."
            problems.append(Problem("this folder holds no rules", "", fix, str(folder)))
        files = _rule_files(folder)
        if folder == shipped:
            of_features = yaml_folders("rules")
            files += [file for rules_folder in of_features for file in rules_folder.glob("*.yaml")]
        for rule in _rules_in(files, layer, strategies, problems):
            rules.pop(rule.id, None)  # so that it moves to its place in this layer
            rules[rule.id] = rule
    if problems:
        raise RuleError(problems)
    complete = {name: strategy for name, strategy in strategies.items() if strategy}
    return RuleBook(tuple(rules.values()), complete)


def _rules_in(
    files: list[Path],
    layer: int,
    strategies: Mapping[str, BookStrategy | None],
    problems: list[Problem],
) -> list[Note]:
    """The rules of one layer, in the order of file names. A repeated id is a problem."""
    rules: dict[str, Note] = {}
    for document in read_all(sorted(files, key=lambda file: file.name), problems):
        for rule in _rules_of(document, layer, strategies, problems):
            if rule.id in rules:
                why = f"The first is at {rules[rule.id].where}."
                problems.append(Problem(f"two rules are called {rule.id!r}", why, "", rule.where))
            rules.setdefault(rule.id, rule)
    return list(rules.values())


def _rule_files(folder: Path) -> list[Path]:
    """The files in ``rules/`` and, unless the folder is the package's, those directly in it."""
    files_in_folder = [] if folder == resources.search_spaces() else folder.glob("*.yaml")
    return [*folder.glob("rules/*.yaml"), *files_in_folder]


def _rules_of(
    document: Document,
    layer: int,
    strategies: Mapping[str, BookStrategy | None],
    problems: list[Problem],
) -> Iterator[Note]:
    if not isinstance(document.data, list):
        fix = "Start every rule with '- id: ...'."
        problems.append(Problem("this file is not a list of rules", "", fix, document.name))
        return
    for number, data in enumerate(document.data):
        context = RuleContext(strategies, layer, document.where((number,)))
        keys = data.keys() if isinstance(data, Mapping) else set()
        is_note = bool(_NOTE_KEYS & keys) and not _RULE_KEYS & keys
        kind: TypeAdapter[Any] = NOTE if is_note else RULE
        rule: Note | None = checked(kind, document, (number,), problems, context)
        if rule is not None:
            yield rule
