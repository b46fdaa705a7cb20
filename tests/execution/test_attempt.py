"""An attempt whose worker was stopped for so long that others took its trial over and ended it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from curve_backend import CurveBackend, make_plan
from optuna.trial import TrialState

from sweeper.backend import Decision
from sweeper.execution.attempt import Attempt, Interruption
from sweeper.execution.bench import Bench
from sweeper.execution.claims import Claim, Queue
from sweeper.execution.endings import read_end
from sweeper.execution.records import RESULT, read_rungs
from sweeper.runfolder import RunFolder
from sweeper.search.configure import configure
from sweeper.search.storage import open_storage
from sweeper.search.study import create_study
from sweeper.trials import RungReport, TrialConfig, TrialResult


class Stopped(CurveBackend):
    """Trains, is stopped after its last report, and goes on later."""

    meanwhile: Callable[[], None]

    def train(
        self,
        config: TrialConfig,
        folder: Path,
        report: Callable[[RungReport], Decision],
        should_stop: Callable[[], bool],
    ) -> TrialResult:
        result = super().train(config, folder, report, should_stop)
        self.meanwhile()
        return result


def attempt_at(bench: Bench, claim: Claim) -> Attempt:
    plan = make_plan()
    candidate = plan.candidate("lora")
    config = configure(
        plan,
        candidate,
        candidate.defaults(),
        number=claim.number,
        attempt=claim.lease.attempt,
        origin="search",
    )
    return Attempt(bench, claim, config, bench.run.trial(claim.number), prunes=False)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    run, storage = RunFolder(tmp_path), open_storage(f"journal:{tmp_path}/study.log")
    queue = Queue(storage, create_study(storage, "s"))
    queue.add({}, {})
    backend = Stopped(run)
    return Bench(
        run, make_plan(), queue, queue, backend, lambda: False, "h/1/0", "0", lambda _event: None
    )  # type: ignore[arg-type]


def test_a_late_attempt_leaves_the_files_of_the_one_that_counts_alone(bench: Bench) -> None:
    late = bench.trials.claim("h/1/0")
    assert late is not None
    target = bench.run.trial(0)

    def others_end_it() -> None:
        bench.backend.meanwhile = lambda: None  # type: ignore[attr-defined]
        assert bench.trials.take_back(bench.trials.trial(0), crashed=True)
        claim = bench.trials.claim("h/2/0")
        assert claim is not None
        result = attempt_at(bench, claim).run()
        assert isinstance(result, TrialResult)
        assert claim.finish(TrialState.COMPLETE, result.validation_loss)

    bench.backend.meanwhile = others_end_it  # type: ignore[attr-defined]
    outcome = attempt_at(bench, late).run()
    assert outcome == Interruption(superseded=True)
    result = TrialResult.read(target / RESULT)
    assert (result.attempt, result.validation_loss) == (2, bench.trials.trial(0).value)
    assert TrialConfig.read(target / "config.json").attempt == 2
    assert (target / "weights" / "adapter.bin").exists()
    end = read_end(bench.run.attempt(0, 1))
    assert end is not None
    assert end.kind == "superseded"
    assert not (bench.run.attempt(0, 1) / "weights").exists()


def test_an_attempt_that_begins_too_late_begins_nothing(bench: Bench) -> None:
    late = bench.trials.claim("h/1/0")
    assert late is not None
    bench.backend.meanwhile = lambda: None  # type: ignore[attr-defined]
    assert bench.trials.take_back(bench.trials.trial(0), crashed=True)
    claim = bench.trials.claim("h/2/0")
    assert claim is not None
    attempt_at(bench, claim).run()
    assert attempt_at(bench, late).run() == Interruption(superseded=True)
    target = bench.run.trial(0)
    assert TrialConfig.read(target / "config.json").attempt == 2
    assert len(read_rungs(target)) == 8
    assert not bench.run.attempt(0, 1).exists()


def test_the_result_of_an_attempt_is_kept_before_anything_is_asked_of_the_storage(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = bench.trials.claim("h/1/0")
    assert claim is not None

    def away() -> None:
        def gone(_trial: int) -> None:
            raise ConnectionError("gone")

        monkeypatch.setattr(bench.trials.storage.optuna, "get_trial", gone)

    bench.backend.meanwhile = away  # type: ignore[attr-defined]
    with pytest.raises(ConnectionError):
        attempt_at(bench, claim).run()
    assert TrialResult.read(bench.run.attempt(0, 1) / RESULT).state == "COMPLETE"
