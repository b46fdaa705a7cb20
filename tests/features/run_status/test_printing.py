"""The next step is that of the run as it is now, not as its findings were written."""

from types import SimpleNamespace

from sweeper.features.run_status._printing import current_next_step
from sweeper.findings.compute import compute
from sweeper.findings.findings import NextStep


def test_a_step_is_of_the_folder_as_it_is_named_now_and_of_a_run_that_was_killed(make_run):
    findings = compute(make_run())
    advised = NextStep(kind="stop", because="No.", command=f"sweeper data {findings.run.place}/x")
    kept = findings.model_copy(update={"next_step": advised})
    status = SimpleNamespace(phase="complete", trials=20, complete=20, pruned=0, failed=0)
    assert current_next_step(kept, "moved", status).command == "sweeper data moved/x"
    running = findings.run.model_copy(update={"status": "running", "complete": 7})
    killed = findings.model_copy(update={"run": running})
    status = SimpleNamespace(phase="interrupted", trials=40, complete=8, pruned=0, failed=0)
    step = current_next_step(killed, "moved", status)
    assert (step.kind, step.command) == ("resume", "sweeper run moved/sweep.yaml")
    assert step.because.startswith("8 of 40 trials")
