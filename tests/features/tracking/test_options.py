"""The flag ``--track``."""

from __future__ import annotations

from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from sweeper.cli.options import takes_spec
from sweeper.errors import SpecError
from sweeper.features.tracking.options import Options
from sweeper.specfile import resolve

REQUEST = {"task": "code", "models": ["7B"], "data": {"examples": 100}}


def given(*words: str) -> dict[Any, Any]:
    """What a command receives for these words."""
    received: dict[Any, Any] = {}
    app = typer.Typer()

    @app.command()
    @takes_spec(run=True)
    def command(flags: dict[Any, Any]) -> None:
        received.update(flags)

    assert CliRunner().invoke(app, list(words)).exit_code == 0
    return received


@pytest.mark.parametrize(
    "words",
    [
        ("--track", "mlflow", "--track", "tensorboard"),
        ("--track", "mlflow,tensorboard"),
        ("--track", "mlflow, tensorboard,"),
    ],
)
def test_trackers_are_repeated_flags_or_a_list_with_commas(words: tuple[str, ...]) -> None:
    flags = given(*words)
    assert flags == {("features", "tracking", "services"): ["mlflow", "tensorboard"]}
    assert resolve(flags, dict(REQUEST)).features.of(Options).services == ("mlflow", "tensorboard")


def test_an_unknown_tracker_of_a_list_gets_the_nearest_name() -> None:
    flags = given("--track", "mlflow,tensorbord")
    with pytest.raises(SpecError) as raised:
        resolve(flags, dict(REQUEST))
    (problem,) = raised.value.problems
    assert problem.where == "--track"
    assert "'tensorbord'" in problem.what
    assert "'tensorboard'" in problem.fix


def test_services_are_named_in_the_file_as_well() -> None:
    request = {**REQUEST, "features": {"tracking": {"services": ["wandb"]}}}
    assert resolve({}, request).features.of(Options).services == ("wandb",)
    assert resolve({}, dict(REQUEST)).features.of(Options).services == ()
