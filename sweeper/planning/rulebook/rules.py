"""The rule book: every rule of ``search_spaces/rules/`` and of the user's own folders, checked.

Rules are applied in the order of their files' names and of their lines; a later rule wins where
two set the same value, and the user's own come last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from sweeper import resources
from sweeper.declared.files import installed_folders, strategy_files
from sweeper.errors import Problem, RuleError, UsageError, near_match
from sweeper.planning.rulebook.conditions import Condition, parse_condition
from sweeper.planning.rulebook.effect_reader import parse_effects
from sweeper.planning.rulebook.effects import Effects
from sweeper.planning.rulebook.strategy_files import DeclaredStrategy, load_strategies
from sweeper.yamlfile import Document, Path_, read

RULE_KEYS = ("id", "title", "when", "then", "why", "source")
_REQUIRED = ("id", "title", "then", "why", "source")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: where ``when`` holds, ``effects`` happen, because of ``why``.

    Args:
        source: A paper, a table of published measurements, or a measurement.
        where: File and line.
    """

    id: str
    title: str
    when: Condition
    effects: Effects
    why: str
    source: str
    where: str


@dataclass(frozen=True, slots=True)
class RuleBook:
    """All rules in the order they are applied, and all strategies by name."""

    rules: tuple[Rule, ...]
    strategies: Mapping[str, DeclaredStrategy]

    def rule(self, name: str) -> Rule:
        """The rule of that id.

        Raises:
            UsageError: There is none; with the nearest id.
        """
        for rule in self.rules:
            if rule.id == name:
                return rule
        ids = [rule.id for rule in self.rules]
        raise UsageError(f"there is no rule {name!r}", fix=near_match(name, ids))


def rule_book(own: tuple[str, ...] = ()) -> RuleBook:
    """The rule book that ships, with the user's own folders laid over it.

    Args:
        own: Folders that hold rule files (``*.yaml`` or ``rules/*.yaml``) and perhaps
            ``strategies/*.yaml``. A rule with a known id replaces that rule.

    Raises:
        RuleError: With every problem of every file.
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
    for folder in folders:
        if not folder.is_dir():
            problems.append(Problem("this folder of rules does not exist", where=str(folder)))
    laid_out = (shipped / "strategies", *(folder / "strategies" for folder in folders))
    beside = tuple(path for path in installed.paths.values() if path.parent not in laid_out)
    strategies = load_strategies(laid_out, problems, beside)
    for strategy in strategies.values():
        if strategy.name not in installed.paths:
            what = f"no installed package brings the strategy {strategy.name!r}"
            why = "A folder of rules changes the parameters of strategies that are installed."
            fix = near_match(strategy.name, installed.paths)
            problems.append(Problem(what, why, fix, strategy.where))
    rules: dict[str, Rule] = {}
    for folder in (shipped, *folders):
        found = _rules_in(folder, strategies, problems)
        if folder != shipped and not found and not (folder / "strategies").is_dir():
            fix = "Put *.yaml files with rules in it."
            problems.append(Problem("this folder holds no rules", "", fix, str(folder)))
        for rule in found:
            rules.pop(rule.id, None)
            rules[rule.id] = rule
    if problems:
        raise RuleError(problems)
    return RuleBook(tuple(rules.values()), strategies)


def _rules_in(
    folder: Path, strategies: Mapping[str, DeclaredStrategy], problems: list[Problem]
) -> list[Rule]:
    """The rules of one folder, in order. The same id twice in one folder is a problem."""
    found: dict[str, Rule] = {}
    for path in sorted([*folder.glob("rules/*.yaml"), *_loose(folder)]):
        try:
            document = read(path)
        except UsageError as error:
            problems += error.problems
            continue
        problems += document.problems
        for rule in _rules_of(document, strategies, problems):
            if rule.id in found:
                why = f"The first is at {found[rule.id].where}."
                problems.append(Problem(f"two rules are called {rule.id!r}", why, "", rule.where))
            found.setdefault(rule.id, rule)
    return list(found.values())


def _loose(folder: Path) -> list[Path]:
    """Rule files that lie in a user's folder itself, not in its ``rules/``."""
    return [] if folder == resources.search_spaces() else list(folder.glob("*.yaml"))


def _rules_of(
    document: Document, strategies: Mapping[str, DeclaredStrategy], problems: list[Problem]
) -> list[Rule]:
    data = document.data
    if not isinstance(data, list):
        fix = "Start every rule with '- id: ...'."
        problems.append(Problem("this file is not a list of rules", "", fix, document.name))
        return []
    rules = (_rule(item, document, (i,), strategies, problems) for i, item in enumerate(data))
    return [rule for rule in rules if rule is not None]


def _rule(
    item: Any,
    document: Document,
    path: Path_,
    strategies: Mapping[str, DeclaredStrategy],
    problems: list[Problem],
) -> Rule | None:
    where = document.where(path)
    if not isinstance(item, Mapping):
        problems.append(Problem(f"{item!r} is not a rule", where=where))
        return None
    name = item.get("id", "this rule")
    for key in item:
        if key not in RULE_KEYS:
            fix = near_match(str(key), RULE_KEYS)
            spot = document.where((*path, key))
            problems.append(Problem(f"{name} has a key {key!r}", "", fix, spot))
    for key in _REQUIRED:
        if item.get(key) in (None, "", {}):
            problems.append(Problem(f"{name}: {key} is missing", where=where))
    when = parse_condition(item.get("when"), document, (*path, "when"), problems)
    then: Any = item.get("then")
    effects = (
        parse_effects(then, document, (*path, "then"), strategies, problems) if then else Effects()
    )
    texts = {key: " ".join(str(item.get(key, "")).split()) for key in ("title", "why", "source")}
    return Rule(id=str(item.get("id")), when=when, effects=effects, where=where, **texts)
