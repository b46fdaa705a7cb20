"""How many small mistakes the tests notice: ``python -m benchmarks.mutants BEFORE AFTER``.

Each argument is a folder with a checked-out version of the project. Mutants are drawn from
functions that are the same in all versions. For each module, the tests that mirror it are loaded
once a version; each mutant runs in a fork of that process, in which the function has the mutant's
code. Do the tests of AFTER catch what those of BEFORE caught?
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import pytest

_TIMEOUT_SECONDS = 600
_NEGATED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Gt: ast.LtE, ast.GtE: ast.Lt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip


class Mutant(NamedTuple):
    """A function, the number of the place in it that changes, and what becomes of that place."""

    module: str
    function: str
    place: int
    change: str

    def __str__(self) -> str:
        return f"{self.module} {self.function}: {self.change}"


def tests_of(module: str) -> str:
    """The file that mirrors a module."""
    _, *folders, name = Path(module).parts
    return str(Path("tests", *folders, f"test_{name.lstrip('_')}"))


def functions(tree: ast.Module | ast.ClassDef, prefix: str = "") -> dict[str, ast.FunctionDef]:
    """The functions and methods of a module by qualified name, without their docstrings."""
    found: dict[str, ast.FunctionDef] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            found |= functions(node, f"{prefix}{node.name}.")
        if isinstance(node, ast.FunctionDef):
            if ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
            found[prefix + node.name] = node
    return found


def places(function: ast.FunctionDef) -> Iterator[tuple[ast.AST, str]]:
    """What may be changed in a function: the node, and a name of its change."""
    for node in (node for statement in function.body for node in ast.walk(statement)):
        match node:
            case ast.Compare(ops=[operator]) if type(operator) in _NEGATED:
                yield node, f"negate {ast.unparse(node)}"
            case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
                yield node, f"{node.value!r} + 1"
            case ast.BoolOp():
                yield node, f"exchange and, or in {ast.unparse(node)}"
            case ast.If() | ast.IfExp():
                yield node, f"not ({ast.unparse(node.test)})"
            case ast.Return(value=ast.expr()):
                yield node, "return None"


def change(node: ast.AST) -> None:
    """Change a node of ``places``."""
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


def drawn(trees: list[Path], under: list[str], seed: int, most: int) -> Iterator[list[Mutant]]:
    """Mutants of one module after the other, in random order, at most one of a function."""
    rng = random.Random(seed)
    paths = sorted(str(p.relative_to(trees[0])) for p in (trees[0] / "sweeper").rglob("*.py"))
    names = [path for path in paths if path.startswith(tuple(under))]
    for name in rng.sample(names, len(names)):
        if all((tree / path).is_file() for tree in trees for path in (name, tests_of(name))):
            old, *later = (functions(ast.parse((tree / name).read_text())) for tree in trees)
            same = [
                n for n in old if all(n in f and ast.dump(old[n]) == ast.dump(f[n]) for f in later)
            ]
            made = []
            for function in rng.sample(same, len(same)):
                if sites := [" ".join(what.split())[:60] for _, what in places(old[function])]:
                    place = rng.randrange(len(sites))
                    made.append(Mutant(name, function, place, sites[place]))
            yield made[:most]


def code_of(mutant: Mutant) -> CodeType:
    """The code of the function with its mutant."""
    tree = ast.parse(Path(mutant.module).read_text(encoding="utf-8"))
    change([node for node, _ in places(functions(tree)[mutant.function])][mutant.place])
    inside: list[Any] = [compile(ast.fix_missing_locations(tree), mutant.module, "exec")]
    for code in inside:  # grows
        if isinstance(code, CodeType):
            inside += code.co_consts
    return next(
        code
        for code in inside
        if isinstance(code, CodeType) and code.co_qualname == mutant.function
    )


def function_of(mutant: Mutant) -> FunctionType:
    """The function of the loaded module, without what decorates it."""
    found: Any = sys.modules[mutant.module.removesuffix(".py").replace("/", ".")]
    for name in mutant.function.split("."):
        found = vars(found)[name]
    while not isinstance(found, FunctionType):
        names = ("__wrapped__", "__func__", "fget", "func")
        found = next(getattr(found, name) for name in names if hasattr(found, name))
    return found


class Forks:
    """A plugin of pytest: runs the tests as they are, then once for each mutant."""

    def __init__(self, mutants: list[Mutant]) -> None:
        self._mutants = mutants
        self.outcomes: list[str] = []

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        for mutant in (None, *self._mutants):
            if not (child := os.fork()):
                status = 1
                try:
                    signal.alarm(_TIMEOUT_SECONDS)
                    if mutant is not None:
                        function_of(mutant).__code__ = code_of(mutant)
                    for item, after in zip(session.items, [*session.items[1:], None], strict=True):
                        if not session.testsfailed:
                            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
                    status = int(bool(session.testsfailed))
                finally:
                    os._exit(status)
            status = os.waitpid(child, 0)[1]
            self.outcomes.append("caught" if status else "passed")
            if mutant is None and status:
                break
        return True


def outcomes(tree: Path, mutants: list[Mutant]) -> list[str]:
    """What becomes of the tests in this version without and with each mutant."""
    command = [sys.executable, __file__, "--mutants", json.dumps(mutants)]
    paths = {"PYTHONPATH": str(tree), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=tree, env=os.environ | paths, stdout=subprocess.PIPE)
    read: list[str] = json.loads(done.stdout.splitlines()[-1])
    return read


def main() -> None:
    """Draw mutants, run the tests of both versions, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("versions", type=Path, nargs="*", metavar="VERSION")
    parser.add_argument("--under", nargs="*", default=["sweeper"], help="folders or modules")
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--most", type=int, default=6, help="of one module")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mutants", type=json.loads, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.mutants:
        forks = Forks([Mutant(*fields) for fields in asked.mutants])
        module = asked.mutants[0][0]
        pytest.main(["-q", "-p", "no:cacheprovider", tests_of(module), module], plugins=[forks])
        print(f"\n{json.dumps(forks.outcomes)}")
        return
    rows: list[tuple[str, ...]] = []
    for mutants in drawn(asked.versions, asked.under, asked.seed, asked.most):
        if mutants and len(rows) < asked.count:
            results = [outcomes(version, mutants)[1:] for version in asked.versions]
            if all(results):  # else the tests fail without a mutant
                for mutant, *row in zip(mutants, *results, strict=True):
                    rows.append(tuple(row))
                    print(*(f"{cell:8}" for cell in row), mutant, flush=True)
    caught = [list(column).count("caught") for column in zip(*rows, strict=True)]
    print(f"caught {', '.join(map(str, caught))} of {len(rows)}")


if __name__ == "__main__":
    main()
