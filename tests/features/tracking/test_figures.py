"""The figures that services get of a rung and of a result."""

from __future__ import annotations

from sweeper.features.tracking.listener import final_figures, rung_figures
from sweeper.trials import Measure, RungReport, TrialResult

MEASURES = {
    "general.text": Measure(title="lost", unit="nats/token", value=2.5, base=2.0),
    "seconds": Measure(title="seconds", unit="s", value=3.0),
}
LOGGED = {"general.text": 2.5, "general.text/change": 0.5, "seconds": 3.0}


def test_measures_are_logged_with_what_training_changed() -> None:
    report = RungReport(
        number=0, attempt=1, rung=2, validation_loss=1.0, items=9, optimizer_steps=3, epochs=0.5,
        tokens=40, training_seconds=1.0, evaluation_seconds=1.0, measures=MEASURES,
    )  # fmt: skip
    assert rung_figures(report) == {"validation_loss": 1.0, "epoch": 0.5, **LOGGED}
    result = TrialResult(number=0, attempt=1, seed=0, state="COMPLETE", measures=MEASURES)
    logged = final_figures(result)
    assert {name: logged[f"final/{name}"] for name in LOGGED} == LOGGED
