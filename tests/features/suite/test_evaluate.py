"""``sweeper evaluate suite`` with a process in the models' place that scores without torch."""

import json
import math
import os
import signal
import threading
import time
from pathlib import Path

import make_run as maker
import pytest
from pydantic import TypeAdapter
from section_figures import figures_of

from sweeper.cli.commands.run import conclude
from sweeper.errors import GateFailed, UsageError
from sweeper.execution.coordinator import RunOutcome
from sweeper.execution.state.status import Status
from sweeper.features.suite import _scoring as scoring
from sweeper.features.suite.commands import answers
from sweeper.findings.compute import compute
from sweeper.findings.study.reading import read_run
from sweeper.findings.study.trained_changes import gate, task_changes
from sweeper.objective import Limit
from sweeper.packages import install_command
from sweeper.plans import Duration, PhaseCost, Plan
from sweeper.reporting.compose import report_of
from sweeper.reporting.sections import spending
from sweeper.reporting.sections.spending import took_sentence
from sweeper.runfolder import RunFolder
from sweeper.specfile import resolve
from sweeper.steps import sweep as run_steps
from sweeper.views import work_progress

pytestmark = pytest.mark.usefixtures("preloaded")

# Every item is right for the base; a trial is wrong on the share of items named in the weights.
WORKER = """
import sys, time
from pathlib import Path
from sweeper.child_process import tell_event, tell_progress
from sweeper.errors import UsageError
from sweeper.evaluation.task_scores import *
from sweeper.features.suite.facts import SuiteFacts
from sweeper.features.suite._scoring import *
def scores(suite, wrong):
    keys = Path(suite).with_name("facts.txt").read_text().split()
    values = [float(i >= wrong * len(keys)) for i in range(len(keys))]
    return TaskScores(task="facts", digest="d", kind="multiple_choice", metric="acc",
        unit="points", higher_is_better=True, shots=0, total_items=len(keys), keys=keys,
        scores=values, harness="fake 1")
def score(suite, path, wrong, trial=None):
    tell_event(what="started", model=path.stem, task="facts", items=60)
    tell_progress("facts of " + path.stem, 20, 60)
    tell_progress("facts of " + path.stem, 40, 60)
    if wrong == "hang":
        time.sleep(600)
    if wrong == "broken":
        sys.exit("CUDA went away")
    tasks = (scores(suite, float(wrong)),)
    ModelScores(model="m", dtype="float32", trial=trial, strategy="lora", tasks=tasks).write(path)
    tell_event(what="scored", model=path.stem, task="facts", items=60, seconds=0.1)
def evaluate(request: EvaluationRequest) -> SuiteFacts:
    folder, suite = Path(request.folder), request.suite
    if "mistake" in Path(suite).read_text():
        raise UsageError("this is not a task file")
    for subject in request.subjects:
        if subject.trial is None:
            score(suite, base_file(folder, "k"), 0.0)
            continue
        wrong = (Path(subject.weights) / "wrong").read_text()
        score(suite, trial_file(folder, subject.trial), wrong, subject.trial)
    return SuiteFacts(tasks=(), measured_with="lm-eval")
"""


@pytest.fixture
def run(here, monkeypatch) -> RunFolder:
    """A finished run, a suite beside it, and the process that scores."""
    (here / "scorer").mkdir()
    (here / "scorer" / "fake_scorer.py").write_text(WORKER)
    root = Path(__file__).parents[3]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(here / "scorer"), str(root)]))
    monkeypatch.setattr(scoring, "FUNCTION", "fake_scorer:evaluate")
    monkeypatch.setattr(scoring, "HARNESS", "json")
    (here / "facts.txt").write_text(" ".join(f"q{n}" for n in range(60)))
    (here / "suite.yaml").write_text("task: facts")
    made = maker.make_run(here / "runs", maker.Shape(name="mine"), trials=6, prune=False)
    model = Plan.read(made.plan).candidates[0].model
    made.spec.write_text(f"name: mine\ntask: classification\nmodels: [{{id: {model}}}]\n")
    return made


def weights(run, number, wrong="0", head=False):
    folder = run.trial(number) / "weights"
    folder.mkdir(exist_ok=True)
    (folder / "wrong").write_text(wrong)
    (folder / "sweeper.json").write_text('{"base_dtype": "float32"}')
    if head:
        (folder / "head.safetensors").write_text("")


def test_base_and_winner_are_compared_and_the_report_shows_it(sweeper, run):
    winner = compute(run).verdict.recommended_trial
    weights(run, winner, "0.5")
    ran = sweeper("evaluate", "suite", "mine", "--suite", "suite.yaml")
    assert ran.code == 0, ran.err
    assert f"#{winner} LoRA" in ran.out or f"#{winner}" in ran.out
    assert "100.0%" in ran.out
    assert "50.0%" in ran.out
    assert f"Trial {winner}: score lost on facts." in ran.out
    assert "scored trial-" in ran.err
    assert "lost more than noise explains: facts" in run.report_html.read_text()


@pytest.mark.usefixtures("without_charts")
def test_progress_of_a_task_is_said_now_and_then(sweeper, run, monkeypatch):
    weights(run, 0, "0.5")
    arguments = ("evaluate", "suite", "mine", "--suite", "suite.yaml", "--trial", "0")
    monkeypatch.setattr(work_progress, "LINE_SECONDS", math.inf)
    assert "progress" not in sweeper(*arguments).err
    monkeypatch.setattr(work_progress, "LINE_SECONDS", 0.0)
    said = [line.split(" ", 1)[1] for line in sweeper(*arguments).err.splitlines() if "20" in line]
    assert "progress facts of trial-0: 20 of 60" in said


@pytest.mark.usefixtures("without_charts")
def test_the_gate_fails_with_five_and_json_is_one_document(sweeper, run):
    weights(run, 0, "0.5")
    arguments = (
        "evaluate",
        "suite",
        "mine",
        "--suite",
        "suite.yaml",
        "--trial",
        "0",
        "--max-forgetting",
    )
    ran = sweeper(*arguments, "5")
    assert ran.code == 5
    assert "more than the limit of 5.0 points" in ran.err
    assert run.report_html.is_file()
    ran = sweeper(*arguments, "70", "--json", "-q")
    assert (ran.code, ran.err) == (0, "")
    shown = json.loads(ran.out)
    TypeAdapter(answers()["evaluate suite"]).validate_python(shown)
    assert shown["trials"] == [0]
    (task,) = shown["tasks"]
    assert task["lost"]["value"] == pytest.approx(50)
    assert task["detectable_points"] > 0


@pytest.mark.usefixtures("without_charts")
def test_a_loss_within_noise_passes_the_gate(sweeper, run):
    weights(run, 0, "0.05")
    arguments = ("evaluate", "suite", "mine", "--suite", "suite.yaml", "--trial", "0")
    assert sweeper(*arguments, "--max-forgetting", "1").code == 0


@pytest.mark.usefixtures("without_charts")
def test_the_base_alone_needs_no_trial_but_a_model_that_writes(sweeper, run):
    arguments = ("evaluate", "suite", "mine", "--suite", "suite.yaml", "--base")
    ran = sweeper(*arguments)
    assert ran.code == 2
    assert "writes no text" in ran.err
    plan = run.plan.read_text().replace('"kind": "encoder"', '"kind": "decoder"')
    run.plan.write_text(plan)
    ran = sweeper(*arguments)
    assert ran.code == 0, ran.err
    assert "facts: 100.0% (acc, 60 items)" in ran.out


def test_without_lm_eval_the_remedy_is_named(sweeper, run, monkeypatch):
    monkeypatch.setattr(scoring, "HARNESS", "no_such_package")
    ran = sweeper("evaluate", "suite", "mine", "--suite", "none.yaml")
    assert ran.code == 2
    assert "needs no_such_package, which is not installed" in ran.err
    assert install_command("suite") in ran.err
    assert "there is no such suite" in ran.err


def test_a_suite_is_checked_before_a_sweep(run, here):
    checked = scoring.check_suite(Path("suite.yaml"), run_generated_code=False)
    assert checked.measured_with == "lm-eval"
    Path("suite.yaml").write_text("a mistake")
    with pytest.raises(UsageError):
        scoring.check_suite(Path("suite.yaml"), run_generated_code=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--suite", "suite.yaml", "--trial", "5"), "trial 5 has no weights"),
        ((), "no suite is given"),
        (("--suite", "none.yaml"), "there is no such suite"),
    ],
)
def test_usage_errors_exit_with_two(sweeper, run, arguments, message):
    ran = sweeper("evaluate", "suite", "mine", *arguments)
    assert ran.code == 2
    assert message in ran.err


def test_a_classification_head_has_nothing_general_to_score(sweeper, run):
    weights(run, 0, head=True)
    ran = sweeper("evaluate", "suite", "mine", "--suite", "suite.yaml", "--trial", "0")
    assert ran.code == 2
    assert "trial 0 ends in a classification head" in ran.err
    assert "--classes-by generate" in ran.err


def test_a_process_that_fails_is_reported(sweeper, run):
    weights(run, 0, "broken")
    ran = sweeper("evaluate", "suite", "mine", "--suite", "suite.yaml", "--trial", "0")
    assert (ran.code, "CUDA went away" in ran.err) == (1, True)


@pytest.mark.usefixtures("without_charts")
def test_ctrl_c_keeps_what_was_scored(sweeper, run):
    weights(run, 0, "hang")

    def interrupt():
        limit = time.monotonic() + 300
        while not (run.path / "evaluations" / "base-k.json").is_file():
            if time.monotonic() > limit:
                break  # what follows says what is missing
            time.sleep(0.05)
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    ran = sweeper("evaluate", "suite", "mine", "--suite", "suite.yaml", "--trial", "0")
    thread.join()
    assert ran.code == 130
    assert "continues where it stopped" in ran.err
    assert (run.path / "evaluations" / "base-k.json").is_file()


def test_after_a_sweep_the_finalists_are_scored_and_heads_are_left_out(run, here):
    order = json.loads(run.test_seal.read_text())["order"]
    for number in order:
        weights(run, number, "0.5", head=number != order[0])
    spec = resolve({("features", "suite", "path"): "suite.yaml"}, run.spec)
    outcome = RunOutcome("complete", status=None)
    told = []
    plan = planned_with_a_suite(run)
    after = run_steps._run_finish_hooks(
        run, plan, spec, outcome, lambda event, _status: told.append(event.text)
    )
    assert after is outcome
    assert any("scored" in text for text in told)
    status = Status.read(run.status)
    assert status.phases["suite"] > 0
    times = {
        p.what: p for p in figures_of(run, spending).predictions if p.unit == "s" and not p.strategy
    }
    assert times["suite"].actual == status.phases["suite"]
    assert times["suite"].predicted == 60
    assert times["sweep"].actual == 100 + status.phases["suite"]
    assert took_sentence(tuple(times.values())).endswith(", planned 5 min (2-8 min).")
    files = read_run(run)
    assert {task.trial for task in task_changes(files)} == {order[0]}
    limits = [Limit("general", 0.01, "forgetting", 2, "")]
    with pytest.raises(GateFailed):
        gate(files, [order[1]], limits)
    with pytest.raises(GateFailed, match=r"facts: 50\.0 points "):
        gate(files, [order[0]], limits)
    gate(files, [order[0]], [])


def planned_with_a_suite(run) -> Plan:
    """The run's plan with a suite in it, and a sweep that took 100 s before that is scored."""
    plan = Plan.read(run.plan)
    search, suite = (Duration(seconds=s, low=s / 2, high=s * 1.5) for s in (240, 60))
    phases, cost = {"search": search, "suite": suite}, PhaseCost(title="suite", seconds=60)
    update = {"sweep": Duration.sum(phases.values()), "phases": phases, "features": {"suite": cost}}
    budget = plan.budget.model_copy(update=update)
    plan = plan.model_copy(update={"budget": budget})
    plan.write(run.plan)
    ended = Status(phase="complete", trials=6, started_at="", updated_at="", seconds=100.0)
    ended.write(run.status)
    return plan


@pytest.mark.parametrize(("limit", "passes"), [(5.0, False), (70.0, True)])
def test_a_sweep_ends_by_its_own_limit(run, here, capsys, limit, passes):
    winner = compute(run).verdict.recommended_trial
    weights(run, winner, "0.5")
    given = {
        ("features", "suite", "path"): "suite.yaml",
        ("features", "forgetting", "max_points"): limit,
    }
    spec = resolve(given, run.spec)
    outcome, plan = RunOutcome("complete", status=None), Plan.read(run.plan)
    run_steps._run_finish_hooks(run, plan, spec, outcome, lambda _event, _status: None)
    ended = run_steps.Ended(spec, run, outcome, report_of(run))
    if passes:
        conclude(ended, as_json=False, fail_under=None)
    else:
        with pytest.raises(GateFailed):
            conclude(ended, as_json=False, fail_under=None)
    assert "report:" in capsys.readouterr().out
