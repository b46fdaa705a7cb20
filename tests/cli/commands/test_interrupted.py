"""A signal ends a command that waits for a process with torch, with the documented exit code."""

import os
import signal
import time

import pytest

from sweeper.findings.compute import compute


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("refit",), "The same command continues with what is not finished."),
        (("predict", "--data", "rows.jsonl", "-o", "out.jsonl"), "continues where it stopped."),
    ],
    ids=["refit", "predict"],
)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_command(sweeper, make_run, monkeypatch, words, message, number, code):
    run = make_run()
    weights = run.trial(compute(run).verdict.recommended_trial) / "weights"
    weights.mkdir(exist_ok=True)
    (weights / "sweeper.json").write_text("{}")
    waited = []

    def wait(*_, **__):
        os.kill(os.getpid(), number)
        time.sleep(30)
        waited.append(True)

    monkeypatch.setattr("sweeper.child_process.in_child", wait)
    before = signal.getsignal(number)
    ran = sweeper(words[0], str(run.path), *words[1:])
    assert (ran.code, waited) == (code, [])
    assert message in ran.err
    assert signal.getsignal(number) is before
