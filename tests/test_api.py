"""sweeper from Python: the flags as keywords, the errors of the commands, frames, notebooks."""

from __future__ import annotations

import copy
import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import sweeper as package
from sweeper import api, plans
from sweeper.cli.options import spec_flags
from sweeper.errors import NothingFits, RunError, UsageError
from sweeper.reporting.compose import report_of
from sweeper.reporting.csvfiles import csv_text, curves_table, trials_table
from sweeper.specfile import FLAGS
from sweeper.textfiles import write_text

ROOT = Path(__file__).parents[1]
STATED: dict[str, Any] = {
    "task": "classification", "model": "7B", "examples": 2000, "gpu_memory": 24
}  # fmt: skip


def test_every_flag_is_a_keyword_of_the_same_type() -> None:
    own = {"set", "features"}
    every, planned = (
        [flag for flag in spec_flags(run=run) if flag.path[0] != "features"]
        for run in (True, False)
    )
    plan = {flag.name for flag in planned}
    assert set(api.PlanKeywords.__annotations__) == plan | own
    assert set(api.RunKeywords.__annotations__) == {flag.name for flag in every} | own
    core = {path for path in FLAGS if path[0] != "features"}
    assert {flag.path for flag in every} == core - {("name",)}
    plain = {bool: "bool", int: "int", float: "float"}
    for flag in every:
        if flag.type in plain:
            declared = api.RunKeywords.__annotations__[flag.name]
            assert getattr(declared, "__forward_arg__", declared) == plain[flag.type], flag.name


def test_importing_the_package_loads_nothing() -> None:
    program = (
        "import sys; before = set(sys.modules); import sweeper; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert set(done.stdout.split()) - sys.stdlib_module_names == {"sweeper"}


def test_a_plan_is_the_commands_plan(sweeper: Any) -> None:
    words = "plan --task classification --model 7B --examples 2000 --gpu-memory 24 --set lora.r=16"
    ran = sweeper(*words.split(), "--strategies", "lora,full", "--json")
    made = package.plan(**STATED, strategies=["lora", "full"], set={"lora.r": 16})
    assert made.to_json() == ran.out
    fields = f"task='classification', model='7B', recommended={made.recommended!r}"
    assert repr(made) == f"NotebookPlan({fields})"


def test_lists_are_also_texts_with_commas() -> None:
    listed, text = {"strategies": ["lora", "full"]}, {"strategies": "lora, full"}
    found = [api._spec_of(None, {**STATED, **given}, needs_model=True) for given in (listed, text)]
    assert found[0] == found[1]
    assert found[0].aim.strategies == ("lora", "full")


def test_file_mapping_and_keywords_make_the_same_request(here: Path) -> None:
    wanted = {"task": "classification", "model": "7B", "data": {"examples": 2000}}
    before = copy.deepcopy(wanted)
    write_text(here / "sweep.yaml", json.dumps(wanted))
    found = package.plan(wanted, gpu_memory=24, max_length=64)
    assert wanted == before
    assert found == package.plan("sweep.yaml", gpu_memory=24, max_length=64)
    assert found == package.plan(here / "sweep.yaml", gpu_memory=24, set={"max_length": 64})
    assert found == package.plan(**STATED, max_length=64)
    assert found != package.plan(**STATED)


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"modle": "7B"}, "there is no keyword 'modle'\n  Did you mean 'model'?"),
        ({**STATED, "set": {"lora.rank": 8}}, "rank"),
        ({**STATED, "set": {"training.max_length": 9}, "max_length": 8}, "--max-length has"),
        ({**STATED, "strategies": "lroa,full"}, "Did you mean 'lora'?"),
        ({**STATED, "seed": object()}, "seed: <object"),
        ({**STATED, "task": "clasification"}, "Did you mean 'classification'?"),
        ({"task": "classification"}, "neither data nor a number of examples"),
    ],
)  # fmt: skip
def test_bad_input_is_an_error_that_says_what_to_do(keywords: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        package.plan(**keywords)
    assert said in str(raised.value)


def test_what_stops_a_command_is_raised(here: Path, rows: Path) -> None:
    with pytest.raises(NothingFits):
        package.plan(**{**STATED, "model": "70B", "gpu_memory": 2})
    with pytest.raises(RunError, match="'nope'"):
        package.load_run("nope")
    with pytest.raises(UsageError, match=r"sweeper\.run\(\.\.\., model='") as raised:
        package.run(task="classification", data=rows, gpu_memory=24)
    assert "no model is given" in str(raised.value)
    with pytest.raises(UsageError):
        package.run(task="classification", model="packaged:minilm", timeout="2h")
    assert not (here / "runs").exists()


def test_a_notebook_shows_a_plan_and_escapes_what_others_wrote() -> None:
    made = package.plan(**STATED)
    assert "lora *" in made._repr_html_()
    model = made.facts.models[0].model_copy(update={"id": "<script>alert(1)</script>"})
    facts = made.facts.model_copy(update={"models": (model,)})
    shown = made.model_copy(update={"facts": facts})._repr_html_()
    assert "&lt;script&gt;" in shown
    assert "<script" not in shown


def test_a_run_that_is_there_is_read(make_run: Any) -> None:
    folder = make_run()
    run = package.load_run(folder.path.name)
    assert (run.path, run.report) == (folder.path, folder.report_html)
    assert run.plan == api.NotebookPlan.read(folder.plan)
    assert isinstance(run.plan, plans.Plan)
    found = report_of(folder).findings
    assert run.sections["cost"]["gains"]
    assert run.verdict == found.verdict.sentence
    assert repr(run) == f"<Run {folder.path}: {run.verdict}>"
    fields = f"run={folder.path.name!r}, verdict={run.verdict!r}"
    assert repr(run.findings) == f"NotebookFindings({fields})"
    for frame, made in ((run.trials, trials_table(found)), (run.curves, curves_table(found))):
        table = list(csv.DictReader(csv_text(made).splitlines()))
        assert list(frame.columns) == list(table[0])
        assert [str(number) for number in frame["trial"]] == [row["trial"] for row in table]
    losses = run.trials.set_index("trial")["validation_loss"]
    assert losses.min() == min(t.value for t in found.trials if t.completed)
    with pytest.raises(UsageError, check=lambda error: error.code == "no-weights"):
        run.winner()


def test_a_notebook_shows_verdict_and_finalists(make_run: Any) -> None:
    run = package.load_run(make_run().path)
    shown = run._repr_html_()
    assert shown == run.findings._repr_html_()
    assert all(f"trial {one.trial} " in shown for one in run.findings.finalists)
    verdict = run.findings.verdict.model_copy(update={"sentence": "a <b> & c"})
    shown = run.findings.model_copy(update={"verdict": verdict, "finalists": ()})._repr_html_()
    assert "a &lt;b&gt; &amp; c" in shown


# As a script without a guard for its main module: workers are processes of another program.
SCRIPT = """
import os, signal, threading, time
from pathlib import Path

import sweeper
from sweeper import api

api._BACKEND = "curve_backend:make"
asked = dict(task="classification", model="packaged:minilm", data="rows.jsonl", strategies="lora",
             trials=2, finalists=1, confirmation_seeds=1, progress="none", name="first")


def interrupt():
    while not Path("runs/first/trials/0/config.json").exists():
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)


threading.Thread(target=interrupt).start()
before = signal.getsignal(signal.SIGINT)
os.environ["CURVE_STEP_SECONDS"] = "0.5"
try:
    sweeper.run(**asked)
except KeyboardInterrupt as error:
    print(error)
assert signal.getsignal(signal.SIGINT) is before
run = sweeper.load_run("first")
print(run.findings.run.status, run.report.is_file())

os.environ["CURVE_STEP_SECONDS"] = "0"
found = []
thread = threading.Thread(target=lambda: found.append(sweeper.run(**asked)))
thread.start()
thread.join()
print(found[0].findings.run.status, len(found[0].trials), found[0].path)
"""


@pytest.mark.usefixtures("preloaded")
def test_a_script_that_is_interrupted_goes_on_in_a_thread(rows: Path) -> None:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "execution")])
    (rows.parent / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=rows.parent, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "runs/first was interrupted; the same call continues it",
        "interrupted True",
        "complete 2 runs/first",
    ]


GOOD = """
from pathlib import Path

import sweeper

plan = sweeper.plan(task="classification", model="7B", examples=2000, gpu_memory=24)
print(plan.recommended.upper(), plan.candidates[0].memory.peak_gib + 1.0)
try:
    run = sweeper.run("sweep.yaml", name="first", trials=5, set={"lora.r": 16}, timeout="2h")
except sweeper.SweeperError as error:
    print(error.exit_code + 1, error.problems[0].fix)
run = sweeper.load_run(Path("runs") / "first")
print(run.verdict.upper(), run.trials.head(), run.curves.columns, run.report.name)
said = run.winner().predict(["a text"])[0]
print(said.label, max(said.probabilities.values()))
print(sweeper.load(run.path / "trials" / "0").classes)
"""
BAD = """import sweeper
sweeper.plan(task="classification", modle="7B")
sweeper.plan(task="nothing")
sweeper.run(trials="5")
sweeper.plan(executor="ray")
sweeper.load_run("x").verdict + 1
sweeper.load("x").predict(["a"]).label
"""
# Of what the script does not see, following it takes a minute.
UNSEEN = (
    "torch", "pandas", "numpy", "typer", "click", "rich", "yaml", "huggingface_hub",
    *(f"sweeper.{room}" for room in (
        "cli", "data", "evaluation", "execution", "facts.dataset", "facts.machine", "facts.models",
        "features", "memory", "metrics", "planning", "processes", "reporting", "steps",
        "strategies", "tasks", "training", "traits", "views",
    )),
)  # fmt: skip
CONFIG = f"""[mypy]
strict = true
[mypy-sweeper.findings.compute,{",".join(f"{name}.*" for name in UNSEEN)}]
follow_imports = skip
ignore_missing_imports = true
"""


@pytest.mark.usefixtures("new_processes")
def test_a_users_script_is_checked_strictly(tmp_path: Path) -> None:
    for name, text in (("good.py", GOOD), ("bad.py", BAD), ("mypy.ini", CONFIG)):
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "good.py", "bad.py"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "MYPYPATH": str(ROOT)},
    )  # fmt: skip
    wrong = [line.split(": error: ")[0] for line in done.stdout.splitlines() if "error:" in line]
    assert wrong == [f"bad.py:{line}" for line in range(2, 8)], done.stdout + done.stderr
