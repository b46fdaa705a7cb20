"""How many small mistakes the tests notice: ``python -m benchmarks.mutants BEFORE AFTER``.

Both arguments are folders with a checked-out version of the project. Mutants are drawn from the
functions that are the same in both. Each is put into a copy of either version, and the tests that
mirror its module run there: do those of AFTER catch what those of BEFORE caught? A call that is
repeated with the same ``--out`` continues.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# What tests load is loaded once: they run in forks of this process.
import huggingface_hub  # noqa: F401
import hypothesis  # noqa: F401
import optuna  # noqa: F401
import pydantic  # noqa: F401
import pytest
import scipy.stats  # noqa: F401
import typer  # noqa: F401

_TIMEOUT_SECONDS = 600
_NEGATED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Gt: ast.LtE, ast.GtE: ast.Lt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A function, the number of the place in it that changes, and what becomes of that place."""

    module: str
    function: str
    place: int
    change: str

    def __str__(self) -> str:
        return f"{self.module} {self.function} {self.place}: {self.change}"


def tests_of(module: str) -> str:
    """The file that mirrors a module."""
    path = Path(module)
    name = f"test_{path.stem.lstrip('_')}.py"
    return str(Path("tests", *path.parts[1:-1], name))


def functions(source: str) -> dict[str, ast.FunctionDef]:
    """The functions and methods of a module by qualified name, without their docstrings."""
    found: dict[str, ast.FunctionDef] = {}

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef):
                if ast.get_docstring(child) is not None:
                    child.body = child.body[1:] or [ast.Pass()]
                found[prefix + child.name] = child
            if isinstance(child, ast.ClassDef):
                visit(child, f"{prefix}{child.name}.")

    visit(ast.parse(source), "")
    return found


def changes(function: ast.FunctionDef) -> Iterator[tuple[ast.AST, str]]:
    """What may be changed in a function: the node, and a name of its change."""
    for statement in function.body:
        for node in ast.walk(statement):
            match node:
                case ast.Compare(ops=[operator]) if type(operator) in _NEGATED:
                    yield node, f"negate {ast.unparse(node)}"
                case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                    yield node, f"{value} + 1"
                case ast.BoolOp():
                    yield node, f"exchange and, or in {ast.unparse(node)}"
                case ast.If() | ast.IfExp():
                    yield node, f"not ({ast.unparse(node.test)})"
                case ast.Return(value=ast.expr()):
                    yield node, "return None"


def mutate(node: ast.AST) -> None:
    """Change a node of ``changes`` in its place."""
    match node:
        case ast.Compare():
            node.ops = [_NEGATED[type(node.ops[0])]()]
        case ast.Constant():
            node.value = node.value + 1  # type: ignore[operator]
        case ast.BoolOp():
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        case ast.If() | ast.IfExp():
            node.test = ast.UnaryOp(ast.Not(), node.test)
        case ast.Return():
            node.value = ast.Constant(None)


def mutants(before: Path, after: Path, seed: int) -> Iterator[Mutant]:
    """Mutants in random order, at most one of a function."""
    drawn = random.Random(seed)
    names = [str(path.relative_to(before)) for path in sorted((before / "sweeper").rglob("*.py"))]
    usable = [
        n
        for n in names
        if all((t / p).is_file() for t in (before, after) for p in (n, tests_of(n)))
    ]
    places = [(n, f) for n in usable for f in functions((before / n).read_text())]
    drawn.shuffle(places)
    for module, name in places:
        old, new = (functions((tree / module).read_text()).get(name) for tree in (before, after))
        choice = drawn.random()
        if old is None or new is None or ast.dump(old) != ast.dump(new):
            continue
        if sites := [what for _, what in changes(old)]:
            place = int(choice * len(sites))
            yield Mutant(module, name, place, " ".join(sites[place].split())[:60])


def mutated(source: str, mutant: Mutant) -> str:
    """The module with its mutant."""
    tree = ast.parse(source)
    *classes, name = mutant.function.split(".")
    body: list[ast.stmt] = tree.body
    for each in classes:
        body = next(n.body for n in body if isinstance(n, ast.ClassDef) and n.name == each)
    function = [n for n in body if isinstance(n, ast.FunctionDef) and n.name == name][-1]
    plain = copy.copy(function)
    if ast.get_docstring(plain) is not None:
        plain.body = plain.body[1:]
    mutate([node for node, _ in changes(plain)][mutant.place])
    return ast.unparse(ast.fix_missing_locations(tree))


def outcome(tree: Path, tests: str) -> str:
    """``passed``, ``caught``, or ``no tests``: what became of these tests in this version."""
    child = os.fork()
    if not child:
        status = 1
        try:
            signal.alarm(_TIMEOUT_SECONDS)
            os.chdir(tree)
            os.environ["PYTHONPATH"] = sys.path[0] = str(tree)
            for number in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), number)
            status = int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", tests]))
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {0: "passed", 5: "no tests"}.get(status, "caught")


def main() -> None:
    """Draw mutants, run the tests of both versions, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("mutants.json"))
    asked = parser.parse_args()
    known: dict[str, str] = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    counts, left = dict.fromkeys(("before", "after"), 0), asked.count
    with tempfile.TemporaryDirectory() as folder:
        trees = {name: Path(folder, name) for name in counts}
        for name, tree in trees.items():
            without = shutil.ignore_patterns(".git", ".venv", "runs", "__pycache__")
            shutil.copytree(getattr(asked, name), tree, ignore=without)
        for mutant in mutants(asked.before, asked.after, asked.seed):
            tests, found = tests_of(mutant.module), {}
            for name, tree in trees.items():
                path = tree / mutant.module
                source = path.read_text()
                for key, text in ((tests, source), (str(mutant), mutated(source, mutant))):
                    if f"{name} {key}" not in known and known.get(f"{name} {tests}") != "caught":
                        path.write_text(text)
                        known[f"{name} {key}"] = outcome(tree, tests)
                        asked.out.write_text(json.dumps(known, indent=1))
                path.write_text(source)
                whole = known[f"{name} {tests}"] == "passed"
                found[name] = (
                    known.get(f"{name} {mutant}", "") if whole else "tests fail without it"
                )
            if not set(found.values()) <= {"passed", "caught"}:
                continue
            print(f"{found['before']:8}{found['after']:8}{mutant}", flush=True)
            for name in counts:
                counts[name] += found[name] == "caught"
            left -= 1
            if not left:
                break
    print(f"caught before {counts['before']}, after {counts['after']} of {asked.count - left}")


if __name__ == "__main__":
    main()
