"""What the base commands may load: they work without it, and a heavy import is felt each time."""

import json
import subprocess
import sys

import pytest

from sweeper import packages
from sweeper.packages import install_command

# Parts of "huggingface_hub" and its network client are installed, and loaded for a download alone.
HEAVY = (
    "torch", "transformers", "peft", "datasets", "optuna", "pandas", "sqlalchemy", "numpy", "scipy",
    "sklearn", "altair", "vl_convert", "pyarrow", "ray", "huggingface_hub.file_download",
    "huggingface_hub.hf_api", "httpx", "httpx2", "requests",
)  # fmt: skip
PLAN = ["plan", "--task", "classification"]
STATED = [*PLAN, "--examples", "2000", "--gpu-memory", "24", "--model"]
COMMANDS = [
    ["--help"],
    ["run", "--help"],
    [*STATED, "7B", "--name", "planned"],
    [*STATED, "Qwen/Qwen2.5-0.5B"],
    [*PLAN, "--data", "rows.csv", "--model", "packaged:minilm"],
    [*PLAN, "--data", "rows.jsonl", "--model", "packaged:minilm"],
    ["explain", "planned"],
    ["rules"],
    ["memory", "--model", "7B"],
    ["schema", "sweep"],
    ["list"],
    ["show", "planned"],
]
PROGRAM = """
import contextlib, io, json, sys

heavy, commands = json.loads(sys.argv[1])
tried = []


class Blocked:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in heavy or name.partition(".")[0] in heavy:
            tried.append(name)
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Blocked)
from sweeper.cli.main import main

for arguments in commands:
    sys.argv = ["sweeper", *arguments]
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            main()
    except SystemExit as ended:
        assert not ended.code, (arguments, ended.code)
    assert said.getvalue(), arguments
    assert not tried, (arguments, tried)

import sweeper

made = sweeper.plan(task="classification", examples=2000, gpu_memory=24, model="7B")
assert made.recommended in made._repr_html_()
assert not tried, tried
"""


def test_base_commands_neither_need_nor_try_to_load_anything_heavy(tmp_path):
    rows = [(f"text number {number}", "ab"[number % 2]) for number in range(60)]
    lines = "".join(f"{text},{label}\n" for text, label in rows)
    (tmp_path / "rows.csv").write_text(f"text,label\n{lines}")
    lines = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
    (tmp_path / "rows.jsonl").write_text(lines)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps([HEAVY, COMMANDS])],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


# What reads rows, downloads, compares models or measures: none of it is needed for a plan from
# numbers.
UNUSED = (
    "huggingface_hub", "psutil", "tokenizers", "jinja2", "sweeper.data.load",
    "sweeper.data.reading", "sweeper.data.formats.row_format", "sweeper.features.quality._kinds",
    "sweeper.data.similar", "sweeper.facts.suite",
    "sweeper.data.prepared", "sweeper.facts.dataset.data_facts",
    "sweeper.planning.model_choice", "sweeper.processes.probe_process", "sweeper.runfolder",
    "sweeper.features.generated_code._sandbox",
)  # fmt: skip
LOADED = """
import json, sys
from sweeper.cli.main import main
try:
    main()
except SystemExit as ended:
    assert not ended.code
print(json.dumps([*sys.modules]), file=sys.stderr)
"""


def loaded_by(arguments, folder):
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments],
        cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_a_plan_from_numbers_loads_nothing_that_it_does_not_use(tmp_path):
    loaded = loaded_by([*STATED, "7B"], tmp_path)
    assert "sweeper.planning.planner" in loaded
    assert not set(UNUSED) & loaded


def test_the_list_of_commands_needs_neither_models_nor_the_metadata_of_packages(tmp_path):
    loaded = loaded_by(["--help"], tmp_path)
    assert "sweeper.cli.find_commands" in loaded
    assert not {"pydantic.main", "yaml", "importlib.metadata"} & loaded


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        (["run", "--task", "classification"], "scipy, torch"),
        (["report", "planned"], "scipy"),
        (["evaluate", "suite", "planned"], "scipy, torch"),
        (["memory", "--model", "7B", "--dry-run"], "torch"),
        (["memory", "--model", "135M", "--cpu", "--probe"], "torch"),
    ],
    ids=["run", "report", "evaluate", "dry run", "probe"],
)
def test_what_is_missing_is_named_with_the_command_that_installs_it(
    sweeper, monkeypatch, arguments, missing
):
    monkeypatch.setattr("sweeper.facts.machine.hardware.detected_gpus", lambda: ())
    monkeypatch.setattr(packages, "is_installed", lambda module: module not in ("scipy", "torch"))
    ran = sweeper(*arguments)
    assert ran.code == 2
    assert f"needs {missing}, which" in ran.err
    assert install_command("train") in ran.err


def test_help_names_every_exit_code(sweeper):
    text = " ".join(sweeper("--help").out.split())
    for code in (
        "0 done",
        "2 a mistake",
        "3 nothing fits",
        "4 no trial",
        "5 a limit",
        "130 Ctrl-C",
    ):
        assert code in text
