from __future__ import annotations

import pytest

pytest.importorskip("tensorboardX")
accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

from sweeper.features.tracking._tensorboard import Tensorboard  # noqa: E402
from sweeper.features.tracking.listener import Follower  # noqa: E402


@pytest.fixture
def follow(sweep):
    return lambda: Follower(sweep.run, Tensorboard(sweep.run, sweep.plan))


def read(run, name):
    events = accumulator.EventAccumulator(str(run.listeners / "tracking" / "tensorboard" / name))
    events.Reload()
    return events


def curve(events, name):
    return [(one.step, pytest.approx(one.value)) for one in events.Scalars(name)]


def test_each_trial_has_a_folder_with_its_curve_and_its_end(sweep, follow):
    sweep.whole(trials=2)
    follow().end("complete")
    for name in ("trial-0", "trial-1"):
        events = read(sweep.run, name)
        assert curve(events, "validation_loss") == [(5, 1.0), (10, 0.5)]
        assert curve(events, "train_loss") == [(5, 2.0), (10, 1.0)]
        assert curve(events, "final/validation_loss") == [(40, 0.25)]
        assert curve(events, "final/accuracy") == [(40, 0.75)]
        assert "_hparams_/session_start_info" in events.summary_metadata
    events = read(sweep.run, "sweep")
    assert curve(events, "test/accuracy") == [(0, 0.5)]
    (report,) = events.Tensors("report/text_summary")
    assert report.tensor_proto.string_val == [b"# the report"]


def test_a_resume_goes_on_in_the_same_folder(sweep, follow):
    sweep.starts(0)
    sweep.rung(0, 1)
    follow().end("interrupted")
    sweep.rung(0, 2)
    sweep.ends(0)
    follow().end("complete")
    assert curve(read(sweep.run, "trial-0"), "validation_loss") == [(5, 1.0), (10, 0.5)]
    folders = {path.name for path in (sweep.run.listeners / "tracking" / "tensorboard").iterdir()}
    assert folders == {"trial-0", "sweep"}
