"""Nothing decides by reading a text that was written for people.

Effects, reasons and states are values, which are worded where they are shown. So the syntax trees
of the whole package must not search in fields that hold such texts.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import sweeper

ROOT = Path(sweeper.__file__).parent
TEXTS = {
    "reason", "effect", "text", "why", "note", "notes", "remedy", "stopped_because",
    "pruned_because", "because", "detail", "strategy", "against",
}  # fmt: skip
SEARCHES = {
    "startswith", "endswith", "partition", "rpartition", "split", "rsplit", "find", "index",
    "removeprefix", "removesuffix",
}  # fmt: skip
# They read what a user, a data set or another program wrote: a row of data, a text of a YAML file,
# a flag, a model's or a card's name, a chat template, an answer of a model, an objective's path;
# or make a number readable.
READERS = {
    "cli/find_commands.py", "data/examples.py", "data/splits.py", "data/contents.py",
    "data/reading/layout.py",
    "data/rows.py", "facts/dataset/data_facts.py", "facts/dataset/domain_distance.py",
    "facts/machine/gpus.py", "facts/models/catalogue.py", "features/augmentation/_augment.py",
    "features/augmentation/_methods.py", "features/augmentation/_clients.py",
    "features/augmentation/_steps.py", "features/exporting/_configuration.py",
    "features/rent/_offers.py", "features/review/_case.py", "features/run_status/_printing.py",
    "features/suite/facts.py", "findings/words.py", "hyperparameters.py",
    "planning/rulebook/strategy_files.py", "reporting/render.py", "resources.py",
    "search/named.py", "spec.py", "tasks/instruction.py", "tasks/sequences/chat.py",
    "traits/traits.py",
}  # fmt: skip


def reads_text(tree: ast.AST) -> Iterator[int]:
    """Lines that search in a field or a variable with a text's name."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=value, attr=attr), args=args):
                by_pattern = isinstance(value, ast.Name) and value.id == "re"
                searched = [*args] if by_pattern else [value] if attr in SEARCHES else []
            case ast.Compare(ops=[ast.In() | ast.NotIn()], left=ast.Constant(), comparators=within):
                searched = within
            case _:
                continue
        if any(_names(one) & TEXTS for one in searched):
            yield node.lineno


def _names(value: ast.AST) -> set[str]:
    """The last name of a field or variable, also where a method such as ``lower`` is called."""
    match value:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return {name}
        case ast.Call(func=ast.Attribute(value=inner)):
            return _names(inner)
        case _:
            return set()


def splits_pair(tree: ast.AST) -> Iterator[str]:
    """Functions that separate a text at an ``@``, as in ``lora@model``."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            for node in ast.walk(function):
                match node:
                    case ast.Call(
                        func=ast.Attribute(attr=attr), args=[ast.Constant(value="@"), *_]
                    ) if attr in SEARCHES:
                        yield function.name


def test_a_strategy_on_a_model_is_parsed_where_files_are_read_alone() -> None:
    parsers = {
        (str(file.relative_to(ROOT)), name)
        for file in ROOT.rglob("*.py")
        for name in splits_pair(ast.parse(file.read_text(encoding="utf-8")))
    }
    assert parsers == {("traits/traits.py", "_read")}


def test_no_text_is_read_to_decide() -> None:
    files = {str(file.relative_to(ROOT)): file for file in ROOT.rglob("*.py")}
    found = {
        name: lines
        for name, file in files.items()
        if (lines := [*reads_text(ast.parse(file.read_text(encoding="utf-8")))])
    }
    assert len(files) > 300
    assert found.keys() - READERS == set()
    assert files.keys() >= READERS


@pytest.mark.parametrize(
    "code",
    [
        'one.effect.startswith("disagrees")',
        'caution.why.partition(":")[0]',
        'row.stopped_because.startswith("it overfits")',
        '[way for way in one.remedy.split("; ")]',
        're.search("fits", rejected.reason)',
        '"budget" in note.lower()',
        'why.split(" ")[0]',
        'row.strategy.partition("@")[0]',
    ],
)
def test_a_use_that_reads_a_text_is_seen(code: str) -> None:
    assert [*reads_text(ast.parse(code))] == [1]


@pytest.mark.parametrize(
    "code", ['name.split(".")', "one.disagrees_with", 'key in ("why", "text")']
)
def test_other_uses_are_not(code: str) -> None:
    assert [*reads_text(ast.parse(code))] == []
