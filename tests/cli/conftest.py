"""Running the command line inside the test's own process, in an empty folder."""

import importlib.util
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sweeper.cli.main import main
from sweeper.runfolder import RunFolder


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


@pytest.fixture
def make_run(here) -> Callable[..., RunFolder]:
    """Write a run below ``runs`` as a sweep would leave it, with the fields of ``Shape``."""
    folder = Path(__file__).parents[1] / "reporting"
    maker = loaded("make_plan", folder) and loaded("make_run", folder)

    def write(**changes: object) -> RunFolder:
        made: RunFolder = maker.make_run(here / "runs", maker.Shape(), **changes)
        return RunFolder(made.path.relative_to(here))

    return write


def loaded(name: str, folder: Path) -> Any:
    """A module of the tests of reporting, under its own name: tests are no package."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]
