from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from curve_backend import make_plan, make_spec

from sweeper.errors import NoTrialCompleted
from sweeper.execution.coordinator import RunOutcome, run_sweep
from sweeper.execution.state.status import Event, Status
from sweeper.execution.worker.session import _last_line
from sweeper.runfolder import RunFolder
from sweeper.trials import TestSeal, TrialConfig, TrialResult

pytestmark = pytest.mark.usefixtures("preloaded")
BACKEND = "curve_backend:make"


def sweep(run: RunFolder, trials: int, workers: int = 1, **search: object) -> RunOutcome:
    plan = make_plan(trials)
    return run_sweep(run, make_spec(trials, workers, **search), plan, backend=BACKEND)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, RunOutcome, list[str]]:
    """One whole run of twenty trials that several tests look at."""
    run = RunFolder(tmp_path_factory.mktemp("whole") / "run")
    heard: list[str] = []

    def hear(event: Event, status: Status) -> None:
        heard.append(event.kind)
        assert status.done <= status.trials

    def trial_ended() -> None:
        heard.append("report")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{Path(__file__).parents[2]}:{Path(__file__).parent}")
        outcome = run_sweep(
            run,
            make_spec(20, 2),
            make_plan(20),
            backend=BACKEND,
            on_event=hear,
            on_trial_end=trial_ended,
        )
    return run, outcome, heard


def results(run: RunFolder) -> dict[int, TrialResult]:
    folders = [run.trial(number) for number in range(20)]
    return {n: TrialResult.read(folder / "result.json") for n, folder in enumerate(folders)}


def test_a_run_has_no_more_trials_than_its_budget_buys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parents[2]}:{Path(__file__).parent}")
    run, plan = RunFolder(tmp_path / "run"), make_plan(20)
    budget = plan.budget.model_copy(update={"trials": 4, "limit_seconds": 600.0})
    bought = plan.model_copy(update={"budget": budget})
    assert run_sweep(run, make_spec(20, 1), bought, backend=BACKEND).kind == "complete"
    assert sorted(int(folder.name) for folder in run.trials.iterdir()) == [0, 1, 2, 3]
    assert Status.read(run.status).trials == 4


@pytest.mark.parametrize("extra", [0, 2])
def test_finalists_get_the_extra_seeds_of_the_plan_if_seeds_are_most_of_the_noise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: int
) -> None:
    # Two finalists of the curve backend differ by the same amount on each item.
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parents[2]}:{Path(__file__).parent}")
    run, plan = RunFolder(tmp_path / "run"), make_plan(3)
    budget = plan.budget.model_copy(update={"finalists": 2, "extra_seeds": extra})
    plan = plan.model_copy(update={"budget": budget})
    assert run_sweep(run, make_spec(3, 1), plan, backend=BACKEND).kind == "complete"
    seal = TestSeal.read(run.test_seal)
    finalists = [score for score in seal.scores if score.trial in seal.order]
    trained = {(score.trial, score.seed) for score in finalists}
    assert trained == {(n, seed) for n in seal.order for seed in range(3 + extra)}


def test_a_run_ends_with_exactly_its_total_and_some_pruned(finished) -> None:
    run, outcome, _ = finished
    assert (outcome.kind, outcome.exit_code) == ("complete", 0)
    status = Status.read(run.status)
    assert status.phase == "complete"
    assert status.done == status.trials == 20
    assert status.pruned >= 1
    ended = results(run)
    losses = {n: one.validation_loss for n, one in ended.items() if one.state == "COMPLETE"}
    assert min(losses, key=losses.get) == status.best.trial


def test_pruned_trials_say_why_and_stopped_before_the_end(finished) -> None:
    run, _, _ = finished
    pruned = [result for result in results(run).values() if result.state == "PRUNED"]
    assert pruned
    for result in pruned:
        assert result.pruned_at_rung in range(2, 8)
        assert "rung" in result.pruned_because
        assert result.validation_loss is None


def test_the_first_trials_are_the_defaults_and_the_head_has_one_trial(finished) -> None:
    run, _, _ = finished
    configs = [TrialConfig.read(run.trial(n) / "config.json") for n in range(20)]
    assert [config.strategy for config in configs[:3]] == ["head", "lora", "full"]
    assert [config.origin for config in configs[:4]] == ["default"] * 3 + ["search"]
    assert [config.strategy for config in configs].count("head") == 1
    assert configs[1].parameters["lora_dropout"] == 0.05
    assert "head_learning_rate" not in configs[1].parameters


def test_weights_are_kept_for_defaults_bests_and_finalists_only(finished) -> None:
    run, _, _ = finished
    seal = TestSeal.read(run.test_seal)
    kept = {n for n in range(20) if (run.trial(n) / "weights").exists()}
    assert {0, 1, 2} | set(seal.order) <= kept
    assert len(kept) <= 3 + 3 + 2
    for number, result in results(run).items():
        assert (result.weights is not None) == (number in kept)


def test_finalists_were_confirmed_and_the_test_split_was_opened_once(finished) -> None:
    run, _, _ = finished
    seal = TestSeal.read(run.test_seal)
    assert len(seal.order) == 3
    assert seal.complete
    assert seal.recommended in seal.order
    for number in seal.order:
        for seed in (1, 2):
            result = TrialResult.read(run.seed(number, seed) / "result.json")
            assert (result.seed, result.state) == (seed, "COMPLETE")
    names = [score.name for score in seal.scores]
    tested = (run.path / "tested.log").read_text().split()
    assert sorted(names) == sorted(tested)
    assert {"majority", "tfidf", "trial-0", "trial-1", "trial-2"} <= set(names)


def test_the_caller_heard_of_everything_and_was_told_when_to_rewrite_the_report(finished) -> None:
    run, _, heard = finished
    assert heard.count("trial-ended") == 20
    assert heard.count("baseline") == 2
    assert heard[-2:] == ["report", "run-ended"]
    assert heard.count("report") > 5
    kept = [json.loads(line)["kind"] for line in run.events.read_text().splitlines()]
    assert kept == [kind for kind in heard if kind != "report"]


def test_the_same_command_again_trains_and_opens_nothing(finished) -> None:
    run, _, _ = finished
    before = [(run.path / name).read_text() for name in ("trained.log", "tested.log", "test.json")]
    seconds = Status.read(run.status).seconds
    assert sweep(run, 20).kind == "complete"
    assert Status.read(run.status).seconds == seconds
    after = [(run.path / name).read_text() for name in ("trained.log", "tested.log", "test.json")]
    assert after == before


def test_a_larger_total_adds_trials_and_a_smaller_one_says_so(
    commands, assert_whole: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CURVE_QUICK", "1")
    run = commands.run
    sweep(run, 2)
    assert_whole(2)
    outcome = sweep(run, 4)
    assert outcome.status.done == 4
    assert_whole(4)
    outcome = sweep(run, 3)
    assert outcome.kind == "complete"
    assert "4 trials have begun already" in outcome.status.message
    assert "the total stays at 4, not 3" in outcome.status.message
    assert outcome.status.trials == 4
    assert_whole(4)


def test_a_call_that_goes_on_has_the_report_made_anew_before_a_trial_ends(
    commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CURVE_QUICK", "1")
    heard: list[str] = []

    def hear(event: Event, status: Status) -> None:
        if event.kind in ("trial-ended", "phase"):
            heard.append(event.kind)

    def call(trials: int) -> list[str]:
        heard.clear()
        run_sweep(
            commands.run,
            make_spec(trials),
            make_plan(2),
            backend=BACKEND,
            on_event=hear,
            on_trial_end=lambda: heard.append("report"),
        )
        return heard[: heard.index("trial-ended")]

    assert "report" not in call(2)
    assert call(3)[0] == "report"


def test_workers_that_cannot_start_end_the_run_with_the_last_lines_of_their_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CURVE_BROKEN", "no such accelerator")
    run = RunFolder(tmp_path)
    with pytest.raises(NoTrialCompleted, match="no such accelerator"):
        sweep(run, 3)
    assert Status.read(run.status).phase == "failed"


def test_no_secret_of_an_error_stands_in_a_file_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_API_KEY", "0123abcdef")
    monkeypatch.setenv("HTTPS_PROXY", "http://ann:pr0xypw@proxy:3128")
    secrets = ("0123abcdef", "pr0xypw", "hf_AbCdEfGhIjKlMn", "p4ss")
    said = f"{' '.join(secrets[:3])} postgresql://u:{secrets[3]}@h/d"
    monkeypatch.setenv("CURVE_BROKEN", said)
    run = RunFolder(tmp_path)
    with pytest.raises(NoTrialCompleted):
        sweep(run, 1)
    texts = [path.read_bytes().decode(errors="replace") for path in tmp_path.rglob("*.*")]
    assert any("postgresql://u:***@h/d" in text for text in texts)
    assert not [secret for secret in secrets if any(secret in text for text in texts)]
    assert _last_line(ValueError(said)) == "ValueError: *** *** hf_*** postgresql://u:***@h/d"


@pytest.mark.usefixtures("new_processes")
@pytest.mark.parametrize("module", ["coordinator", "worker"])
def test_execution_loads_without_torch(module: str) -> None:
    code = (
        f"import sys, sweeper.execution.{module}; "
        "print([name for name in ('torch', 'transformers', 'peft', 'datasets') "
        "if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_a_default_that_the_sampler_begins_with_is_one_and_is_not_trained_again(
    commands, assert_whole: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CURVE_QUICK", "1")
    run = commands.run
    sweep(run, 4)  # the head and LoRA are all defaults that so few trials allow

    def defaults() -> list[str]:
        configs = [
            TrialConfig.read(run.trial(n) / "config.json") for n in range(len(commands.trials()))
        ]
        return [config.strategy for config in configs if config.origin == "default"]

    assert sorted(defaults()) == ["full", "head", "lora"]
    sweep(run, 9)
    assert sorted(defaults()) == ["full", "head", "lora"]
    assert_whole(9)
