"""The core does its job in a copy without features, and never knew their names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import curve_backend
import pytest

import sweeper
from sweeper.features import loader, parts

pytestmark = pytest.mark.usefixtures("preloaded")
PACKAGE = Path(sweeper.__file__).parent
ROOT = PACKAGE.parent
OURS = [one.name for one in loader.installed() if one.folder.parent.parent == PACKAGE]
# All at once with every run of the suite; each alone where this is set, which takes minutes.
EACH = OURS if os.environ.get("SWEEPER_TEST_EACH_FEATURE") else []
DELETED = [pytest.param(OURS, id="all"), *(pytest.param([name], id=name) for name in EACH)]

Run = Callable[..., subprocess.CompletedProcess[str]]


def write_rows(path: Path) -> None:
    words = {"fruit": "apple pear plum", "metal": "iron zinc gold", "river": "nile rhine po"}
    rows = [
        {"text": f"what do you know about {names.split()[n % 3]} number {n}", "label": label}
        for label, names in words.items()
        for n in range(40)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def python(package: Path, folder: Path) -> Run:
    """Python in a folder, with a copy of the package."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        paths = [str(package.parent), str(Path(curve_backend.__file__).parent)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "200"}
        return subprocess.run(
            [sys.executable, *words],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def program(package: Path, folder: Path) -> Run:
    """The command line of a copy of the package, given in a folder."""
    return partial(python(package, folder), "-m", "sweeper")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run of the whole product, whose winner a copy without features must load."""
    folder = tmp_path_factory.mktemp("trained")
    write_rows(folder / "rows.jsonl")
    words = "--task classification --model packaged:minilm --strategies head --trials 1 --name real"
    words += " --finalists 1 --confirmation-seeds 1 --max-length 16 --progress none"
    done = program(PACKAGE, folder)("run", "--data", "rows.jsonl", *words.split())
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "real"


def copy_without(names: Sequence[str], folder: Path) -> Path:
    """A copy of the package, compiled as it is, with what it reads, without these features."""
    ignored = shutil.ignore_patterns("example.html")
    for name in ("sweeper", "search_spaces", "reports"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in names:
        shutil.rmtree(folder / "sweeper" / "features" / name)
    return folder / "sweeper"


def commands_of(names: Sequence[str]) -> dict[str, set[str]]:
    """The commands of features by their group, empty for none, from the files that declare them."""
    from sweeper.cli.find_commands import declarations

    found: dict[str, set[str]] = {}
    for feature in loader.features_with("commands"):
        if feature.name in names:
            file = declarations(f"{feature.package}.commands", feature.folder / "commands.py")
            if file is not None:  # else the types of what others print alone
                found.setdefault(file.group, set()).update(file.commands)
    return found


# The help of command groups; nothing where the group is gone.
HELP = """
import contextlib, io, json, sys
from sweeper.cli.main import main

helps = []
for group in json.loads(sys.argv[1]):
    sys.argv = ["sweeper", *filter(None, [group]), "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        main()
    helps.append(out.getvalue())
print(json.dumps(helps))
"""


@pytest.mark.slow
@pytest.mark.parametrize("names", DELETED)
def test_the_core_plans_runs_reports_and_predicts_without(
    names: list[str], trained: Path, tmp_path: Path
) -> None:
    package = copy_without(names, tmp_path / "copy")
    folder = tmp_path / "work"
    folder.mkdir()
    write_rows(folder / "rows.jsonl")
    run = program(package, folder)

    plan = run("plan", "--task", "instruction", "--examples", "5000", "--gpu-memory", "24",
               "--model", "7B", "--json")  # fmt: skip
    assert plan.returncode == 0, plan.stderr
    assert json.loads(plan.stdout)["recommended"] == "lora"

    words = "--task classification --model packaged:minilm --strategies lora,head --trials 3"
    words += " --finalists 1 --name mine --backend curve_backend:make --progress none"
    done = run("run", "--data", "rows.jsonl", *words.split())
    assert done.returncode == 0, done.stderr
    made = folder / "runs" / "mine"
    findings = json.loads((made / "findings.json").read_text())
    assert findings["run"]["complete"] == 3
    page = (made / "report.html").read_bytes()
    assert b"<svg" in page
    (made / "report.html").unlink()
    again = run("report", "mine")
    assert again.returncode == 0, again.stderr
    assert (made / "report.html").read_bytes() == page

    ask = "import sys, sweeper; print(sweeper.load_run(sys.argv[1]).winner().predict(sys.argv[2:]))"
    text = "what do you know about zinc number 5"
    predicted = python(package, folder)("-c", ask, str(trained), text)
    assert predicted.returncode == 0, predicted.stderr
    assert "metal" in predicted.stdout

    groups = commands_of(names)
    helps = python(package, folder)("-c", HELP, json.dumps([*groups]))
    assert helps.returncode == 0, helps.stderr
    for commands, helped in zip(groups.values(), json.loads(helps.stdout), strict=True):
        listed = {line.strip("│ ").partition(" ")[0] for line in helped.splitlines()}
        assert not listed & {*commands}

    # An option of a feature that is not there is an error with file and line.
    gone = next((name for name in names if any(path[1] == name for path in parts.flags())), "")
    if not gone:
        return
    (folder / "sweep.yaml").write_text(
        f"task: classification\nmodel: 7B\nfeatures:\n  {gone}: {{}}\n"
    )
    refused = run("plan", "sweep.yaml")
    assert refused.returncode == 2
    assert f"sweep.yaml:4 features.{gone}" in refused.stderr
