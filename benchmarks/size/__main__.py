"""Counts code: ``python -m benchmarks.size``, which ``make size`` calls.

A line of code holds at least one token of a program that is no comment and no docstring. A node is
one of the syntax tree, so that longer lines do not count as less.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import sweeper
from sweeper.features import loader

ROOT = Path(sweeper.__file__).parent
FEATURES = ROOT / "features"
_NO_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENCODING, tokenize.ENDMARKER,
}  # fmt: skip


@dataclass(frozen=True)
class Size:
    """Modules, lines of code and nodes of syntax trees."""

    modules: int = 0
    lines: int = 0
    nodes: int = 0

    def __add__(self, other: Size) -> Size:
        return Size(
            self.modules + other.modules, self.lines + other.lines, self.nodes + other.nodes
        )


def size_of(source: str) -> Size:
    """The size of one module."""
    tree = ast.parse(source)
    docstrings = {line for node in _docstrings(tree) for line in _lines(node)}
    lines = {
        line
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in _NO_CODE
        for line in range(token.start[0], token.end[0] + 1)
    }
    in_docstrings = sum(1 for node in _docstrings(tree) for _ in ast.walk(node))
    nodes = sum(1 for _ in ast.walk(tree)) - in_docstrings
    return Size(1, len(lines - docstrings), nodes)


def _docstrings(tree: ast.AST) -> Iterator[ast.Expr]:
    """Texts that stand alone: docstrings, also those of attributes."""
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str())):
                yield node


def _lines(node: ast.Expr) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def sizes(paths: Iterable[Path]) -> Size:
    """The size of all modules below these folders, and of these files."""
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*.py"))]
    return sum((size_of(file.read_text(encoding="utf-8")) for file in files), Size())


def table() -> Iterator[tuple[str, Size]]:
    """The core room by room, its sum, each feature, their sum, and all."""
    top = sorted(path for path in ROOT.iterdir() if path != FEATURES)
    rooms = [path for path in top if path.is_dir() and any(path.rglob("*.py"))]
    core = {"top level": sizes(path for path in top if path.suffix == ".py")}
    core |= {path.name: sizes([path]) for path in rooms}
    core["features (contract)"] = sizes(FEATURES.glob("*.py"))
    folders = {one.name: one.folder for one in loader.installed() if FEATURES in one.folder.parents}
    features = {name: sizes([folder]) for name, folder in folders.items()}
    yield from sorted(core.items(), key=lambda room: -room[1].lines)
    yield "CORE", sum(core.values(), Size())
    yield from sorted(features.items(), key=lambda feature: -feature[1].lines)
    yield "FEATURES", sum(features.values(), Size())
    yield "ALL", sum([*core.values(), *features.values()], Size())


def main() -> None:
    """Print the table."""
    print(f"{'':24}{'modules':>8}{'lines':>8}{'nodes':>9}")
    for name, size in table():
        print(f"{name:24}{size.modules:8,}{size.lines:8,}{size.nodes:9,}")


if __name__ == "__main__":
    main()
