"""Data sets from the Python standard library of this machine: real text, made offline.

    python examples/stdlib.py order -o order/               text + label: were words exchanged?
    python examples/stdlib.py modules -o modules.jsonl      text + label: which module is this from?
    python examples/stdlib.py functions -o functions.jsonl  instruction + output: docstring to code

The form of a text decides in ``order``, its topic in ``modules``. Sources are parsed, never
imported. The rows depend on the Python version, not on chance; most are the same in all versions.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import re
import sys
import sysconfig
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

# Packages and modules with enough documented definitions for a class of their own.
MODULES = (
    "argparse", "asyncio", "collections", "concurrent", "ctypes", "datetime", "decimal", "difflib",
    "email", "fractions", "http", "idlelib", "importlib", "inspect", "ipaddress", "json", "lib2to3",
    "logging", "mailbox", "multiprocessing", "optparse", "pathlib", "pickle", "random", "shutil",
    "socket", "ssl", "statistics", "subprocess", "tarfile", "threading", "tkinter", "turtle",
    "typing", "unittest", "urllib", "wsgiref", "xml", "xmlrpc", "zipfile",
)  # fmt: skip
ROWS, ROWS_A_MODULE, FEWEST_A_MODULE = 600, 30, 24
LONGEST = 80  # characters
# To tell a difference of a few points from noise takes hundreds of rows to test on.
ORDER_ROWS = {"test": 500, "validation": 300, "train": 800}
SENTENCE = re.compile(r"[A-Z][a-z'-]*(,? [A-Za-z'-]+){5,10}\.")


def definitions(module: str) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every documented class and function of a module or package."""
    root = Path(sysconfig.get_path("stdlib"))
    single = root / f"{module}.py"
    files = [single] if single.is_file() else sorted((root / module).rglob("*.py"))
    for file in files:
        if any(part in {"test", "tests", "idle_test"} for part in file.parts):
            continue
        source = file.read_text(encoding="utf-8", errors="replace")
        for node in ast.walk(ast.parse(source)):
            definition = isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            if definition and ast.get_docstring(node):
                yield node


def by_hash(text: str) -> str:
    """An order that has nothing to do with where a text stands."""
    return hashlib.sha256(text.encode()).hexdigest()


def first_sentence(docstring: str) -> str:
    """The first sentence, on one line: short enough that a laptop trains on hundreds in seconds."""
    text = " ".join(docstring.split())
    return re.split(r"(?<=[.!?]) ", text, maxsplit=1)[0][:LONGEST]


def modules() -> Iterator[dict[str, str]]:
    """Docstrings' first sentences with the module's own name masked, labelled with the module."""
    chosen = []
    for module in MODULES:
        texts = set()
        for node in definitions(module):
            text = first_sentence(ast.get_docstring(node) or "")
            text = re.sub(rf"\b{re.escape(module)}\b", "...", text, flags=re.IGNORECASE)
            if len(text.split()) >= 6:
                texts.add(text)
        if len(texts) >= FEWEST_A_MODULE:
            chosen.append((module, sorted(texts, key=by_hash)[:ROWS_A_MODULE]))
    chosen.sort(key=lambda pair: (-len(pair[1]), pair[0]))
    rows = [{"text": text, "label": module} for module, texts in chosen for text in texts]
    rows = rows[:ROWS]
    counts = {row["label"]: 0 for row in rows}
    for row in rows:
        counts[row["label"]] += 1
    yield from (row for row in rows if counts[row["label"]] >= FEWEST_A_MODULE)


def order() -> dict[str, list[dict[str, str]]]:
    """Sentences of docstrings by split, half of them with words exchanged, labelled with that.

    A sentence is one row only, as it stands or exchanged, so that no split shows another's answer.
    """
    sentences = {
        sentence
        for module in MODULES
        for node in definitions(module)
        for paragraph in re.split(r"\n\s*\n", ast.get_docstring(node) or "")
        for sentence in re.split(r"(?<=[.!?]) ", " ".join(paragraph.split()))
        if SENTENCE.fullmatch(sentence)
    }
    # In lower case, or a capital inside the sentence would give the exchange away.
    ordered = iter(sorted({one.lower() for one in sentences}, key=by_hash))
    return {
        split: [
            {"text": exchanged(text), "label": "exchanged"}
            if int(by_hash(f"label of {text}"), 16) % 2
            else {"text": text, "label": "intact"}
            for _, text in zip(range(rows), ordered, strict=False)
        ]
        for split, rows in ORDER_ROWS.items()
    }


def exchanged(sentence: str) -> str:
    """The sentence with two pairs of words exchanged, each of two different words apart.

    >>> exchanged("the first word opens a sentence.")
    'opens first a the word sentence.'
    """
    words = re.findall(r"[a-z'-]+", sentence)
    pairs = [
        pair
        for pair in combinations(range(len(words)), 2)
        if pair[1] - pair[0] > 1 and words[pair[0]] != words[pair[1]]
    ]
    for name in ("one", "another"):
        first, second = pairs[int(by_hash(f"{name} exchange in {sentence}"), 16) % len(pairs)]
        words[first], words[second] = words[second], words[first]
        pairs = [pair for pair in pairs if not {first, second} & set(pair)]
    in_turn = iter(words)
    return re.sub(r"[a-z'-]+", lambda _: next(in_turn), sentence)


def functions(rows: int) -> Iterator[dict[str, str]]:
    """Short documented functions: signature and docstring as instruction, the body as output."""
    found = {}
    for module in MODULES:
        for node in definitions(module):
            if not isinstance(node, ast.FunctionDef) or len(node.body) < 2:
                continue
            docstring = " ".join((ast.get_docstring(node) or "").split())
            body = ast.Module(body=node.body[1:], type_ignores=[])
            code = ast.unparse(ast.fix_missing_locations(body))
            if 5 <= len(docstring.split()) <= 25 and 30 <= len(code) <= 200:
                signature = f"def {node.name}({ast.unparse(node.args)}):"
                instruction = f"Write the body of this Python function.\n{signature}\n{docstring}"
                found.setdefault(instruction, code)
    for instruction in sorted(found, key=by_hash)[:rows]:
        yield {"instruction": instruction, "output": found[instruction]}


def main() -> None:
    """Write one of the data sets and say what is in it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=["order", "modules", "functions"])
    parser.add_argument("-o", "--output", type=Path, required=True, help="a folder for order")
    parser.add_argument("--rows", type=int, default=80, help="functions only")
    arguments = parser.parse_args()
    if arguments.kind == "order":
        files = {arguments.output / f"{split}.jsonl": rows for split, rows in order().items()}
    else:
        made = modules() if arguments.kind == "modules" else functions(arguments.rows)
        files = {arguments.output: list(made)}
    for path, rows in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        labels = {row["label"] for row in rows if "label" in row}
        classes = f", {len(labels)} classes" if labels else ""
        print(f"{path}: {len(rows)} rows{classes}, from Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()
