"""What the start of the program may load: a heavy import here is felt at every command."""

import subprocess
import sys

import pytest

HEAVY = (
    "torch", "transformers", "peft", "datasets", "optuna", "pandas", "sqlalchemy", "numpy", "scipy",
    "sklearn", "altair", "pyarrow", "huggingface_hub.file_download", "huggingface_hub.hf_api",
    "httpx", "httpx2", "requests",
)  # fmt: skip
PLAN = [
    "plan",
    "--task",
    "classification",
    "--examples",
    "2000",
    "--gpu-memory",
    "24",
    "--model",
    "7B",
]
HUB_PLAN = [*PLAN[:-1], "Qwen/Qwen2.5-0.5B"]


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["run", "--help"], PLAN, HUB_PLAN],
    ids=["help", "run", "plan", "plan of a hub model"],
)
def test_nothing_heavy_is_loaded(arguments):
    code = (
        "import sys; from sweeper.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as ended: assert not ended.code, ended.code\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip().splitlines()[-1] == "[]"
    assert done.stdout


def test_help_names_every_exit_code(sweeper):
    text = " ".join(sweeper("--help").out.split())
    for code in ("0 done", "2 usage", "3 nothing fits", "4 no trial", "5 gate", "130 Ctrl-C"):
        assert code in text
