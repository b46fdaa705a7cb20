"""Full disks, closed streams and narrow encodings: a message with its cause, and no half a file."""

import errno
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import make_run as maker
import pytest

from sweeper.cli import main as program
from sweeper.errors import RunError, os_problem
from sweeper.reporting.compose import report_of
from sweeper.reporting.write import write_report
from sweeper.textfiles import replacing, write_text

ROWS = [{"text": f"hällo wörld {n} ☃" * 3, "label": "äb"[n % 2]} for n in range(100)]
SPEC = "task: classification\nmodel: packaged:minilm\ndata: {examples: 100}\n"
PLAN = ["plan", "sweep.yaml"]


@pytest.fixture
def call(tmp_path):
    """Runs the program in a folder with a request and rows."""
    (tmp_path / "sweep.yaml").write_text(SPEC)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))

    def run(*arguments, **options):
        command = [sys.executable, "-m", "sweeper", *arguments]
        defaults = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": tmp_path}
        return subprocess.run(command, text=True, timeout=600, **(defaults | options))

    return run


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("arguments", [PLAN, ["--version"]])
def test_a_full_output_is_a_message(call, arguments):
    with open("/dev/full", "w") as full:
        done = call(*arguments, stdout=full)
    assert done.returncode == 2
    assert os.strerror(errno.ENOSPC) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_stream_for_messages_keeps_the_exit_code(call):
    with open("/dev/full", "w") as full:
        assert call("plan", "missing.yaml", stderr=full).returncode == 2


@pytest.mark.parametrize("closed", [(1,), (0, 1, 2)])
def test_closed_streams_are_no_fault(call, closed, tmp_path):
    def close():
        for number in closed:
            os.close(number)

    done = call(*PLAN, "-o", "new.yaml", preexec_fn=close)
    assert done.returncode == 0
    assert (tmp_path / "new.yaml").read_text().startswith("schema_version: 1\n")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["rules"], ["--help"]])
def test_a_reader_that_goes_away_is_no_fault(call, arguments):
    reading, writing = os.pipe()
    os.close(reading)
    done = call(*arguments, stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_narrow_encoding_is_no_fault(call, encoding):
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    options = {"env": environment, "encoding": encoding}
    done = call("plan", "--task", "classification", "--model", "☃", **options)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert call("data", "check", "rows.jsonl", **options).returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        [*PLAN, "-o", "new"],
        ["data", "convert", "rows.jsonl", "--to", "text-label", "-o", "new.csv"],
        ["data", "split", "rows.jsonl", "-o", "new"],
        ["data", "fix", "rows.jsonl", "--all-safe", "-o", "new.jsonl"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_a_full_disk_leaves_nothing_and_names_the_file(call, arguments, tmp_path):
    before = sorted(tmp_path.iterdir())

    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))

    # Python would leave half a compiled module where it has not compiled one yet.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = call(*arguments, preexec_fn=small, env=environment)
    assert done.returncode == 2
    assert done.stderr.startswith("error[run-folder]: new"), done.stderr
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("command", [["report", "x"], ["export", "x", "--to", "model"]])
def test_a_full_disk_keeps_earlier_results(call, command, tmp_path):
    """A disk of two megabytes, filled to the last byte, if this machine lets us mount one."""
    run = maker.make_run(tmp_path / "runs", maker.Shape(name="x"), trials=1, prune=False, seeds=1)
    weights = run.trial(0) / "weights"
    weights.mkdir(exist_ok=True)
    for name in ("model.safetensors", "tokenizer.json"):
        (weights / name).write_text("{}" * 9000)
    record = {"files": ["model.safetensors", "tokenizer.json"], "base_model": "x"}
    (weights / "sweeper.json").write_text(json.dumps(record))
    write_report(run, report_of(run, "not here"))
    script = """
    set -e; mkdir disk; mount -t tmpfs -o size=2m tmpfs disk; cp -a runs disk; cd disk
    dd if=/dev/zero of=filler 2>/dev/null || true; find runs -type f -exec md5sum {} + > ../before
    code=0; "$@" || code=$?; find runs -type f -exec md5sum {} + > ../after; exit $code
    """
    shell = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if subprocess.run(
        [*shell, "mount -t tmpfs tmpfs ."], capture_output=True, cwd=tmp_path
    ).returncode:
        pytest.skip("this user cannot mount a disk")
    done = subprocess.run(
        [*shell, script, "sh", sys.executable, "-m", "sweeper", *command],
        cwd=tmp_path, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert re.match(
        r"error\[run-folder\]: runs/x/[^.].*: No space left on device\n"
        r"  The disk at .*/disk has 0 KiB",
        done.stderr,
    )
    assert (tmp_path / "before").read_text() == (tmp_path / "after").read_text() != ""


def fail(path, kind):
    with replacing(path) as part:
        part.write_text("half")
        raise kind


def test_a_replacement_that_fails_leaves_the_old_content(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    for kind in (OSError(errno.ENOSPC, "full"), KeyboardInterrupt()):
        with pytest.raises(type(kind)):
            fail(path, kind)
        assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.txt", "old")]


def test_a_copy_that_fails_names_the_file_that_was_meant_and_its_disk(tmp_path):
    new = tmp_path / "new"
    with pytest.raises(OSError) as caught, replacing(new) as part:  # noqa: PT011, PT012
        part.mkdir()
        raise OSError(errno.ENOSPC, "full", "source", None, str(part / "a"))
    problem = os_problem(caught.value)
    assert problem.where == str(new / "a")
    disk = Path(re.search(r" (/\S*) ", problem.why)[1])
    assert disk.is_mount()
    assert disk.stat().st_dev == tmp_path.stat().st_dev
    assert list(tmp_path.iterdir()) == []


def test_the_cause_of_a_refusal_decides_its_remedy():
    fixes = {
        number: os_problem(OSError(number, os.strerror(number), "x")).fix
        for number in (errno.ENOSPC, errno.EACCES, errno.ENAMETOOLONG)
    }
    assert len(set(fixes.values())) == 3
    assert os_problem(OSError(errno.EDQUOT, "quota", "x")).fix == fixes[errno.ENOSPC]


def test_memory_that_runs_out_is_no_bug(monkeypatch):
    def out_of_memory():
        raise MemoryError

    monkeypatch.setattr(program, "app", out_of_memory)
    with pytest.raises(RunError) as caught:
        program._run()
    assert caught.value.exit_code == 2
