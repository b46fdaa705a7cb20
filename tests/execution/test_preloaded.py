"""A copy of the preloaded process is a child like any other, and starts copies itself."""

import json
import os
import subprocess
import sys

import pytest

CODE = """
import json, os, sys
given = sys.stdin.read()
print(json.dumps([os.getppid(), os.getcwd(), os.environ["HOLDS"], given, "torch" in sys.modules]))
print(open("/proc/self/cmdline").read(), file=sys.stderr)
sys.exit(int(sys.argv[1]))
"""


@pytest.mark.usefixtures("preloaded")
def test_it_has_the_arguments_files_folder_and_environment_it_was_given(tmp_path):
    environment = os.environ | {"HOLDS": "a value"}
    done = subprocess.run(
        [sys.executable, "-c", CODE, "7"],
        input="a text", cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 7, done.stderr
    assert json.loads(done.stdout) == [os.getpid(), str(tmp_path), "a value", "a text", True]
    assert CODE in done.stderr


NESTED = """
import os, subprocess, sys
code = "import os, sys; print(os.getppid(), 'torch' in sys.modules); sys.exit(3)"
done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
assert done.returncode == 3
assert done.stdout.split() == [str(os.getpid()), "True"], done.stdout
"""


@pytest.mark.usefixtures("preloaded")
def test_it_starts_copies_itself_and_can_be_killed():
    nested = [sys.executable, "-c", NESTED]
    assert subprocess.run(nested, check=False).returncode == 0
    waiting = [sys.executable, "-c", "print(flush=True); import time; time.sleep(600)"]
    with subprocess.Popen(waiting, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.kill()
    assert process.returncode == -9


@pytest.mark.usefixtures("preloaded")
@pytest.mark.parametrize(
    ("option", "environment"),
    [("-S", {}), ("-c", {"PYTHONHASHSEED": "1"}), ("-c", {"HF_HOME": ""})],
)
def test_what_python_reads_at_its_start_makes_a_process_of_its_own(option, environment):
    code = "import sys; sys.exit('torch' in sys.modules)"
    words = [option, code] if option == "-c" else [option, "-c", code]
    command = [sys.executable, *words]
    assert subprocess.run(command, env=os.environ | environment, check=False).returncode == 0


@pytest.mark.usefixtures("preloaded")
def test_a_folder_with_another_version_of_what_is_loaded_makes_a_process_of_its_own(tmp_path):
    (tmp_path / "torch.py").write_text("raise SystemExit(5)")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", "import torch"]
    assert subprocess.run(command, env=environment, check=False).returncode == 5
