"""Running the command line inside the test's own process, in an empty folder."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sweeper.cli.main import main


@dataclass(frozen=True)
class Ran:
    """How one command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def sweeper(here, capsys, monkeypatch) -> Callable[..., Ran]:
    """Run ``sweeper ARGS...`` and get exit code and both streams."""

    def run(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["sweeper", *arguments])
        capsys.readouterr()
        try:
            main()
            code: object = 0
        except SystemExit as ended:
            code = ended.code
        streams = capsys.readouterr()
        return Ran(code if isinstance(code, int) else int(code is not None), *streams)

    return run


@pytest.fixture
def rows(here) -> Path:
    """A small classification file: three classes by topic, every text different."""
    words = {"fruit": "apple pear plum", "metal": "iron zinc gold", "river": "nile rhine po"}
    path = here / "rows.jsonl"
    with path.open("w") as file:
        for label, names in words.items():
            for number in range(30):
                name = names.split()[number % 3]
                text = f"what do you know about {name} number {number}"
                file.write(json.dumps({"text": text, "label": label}) + "\n")
    return path
