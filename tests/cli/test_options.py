from __future__ import annotations

from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from sweeper.cli.options import command_of, spec_flags, takes_spec
from sweeper.errors import SpecError
from sweeper.specfile import FLAGS, resolve

BOOLEANS = [flag.path for flag in spec_flags(run=True) if flag.type is bool]


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


def test_there_are_flags_that_are_on_or_off() -> None:
    assert ("search", "stop_when_settled") in BOOLEANS
    assert ("evaluation", "no_texts") in BOOLEANS


@pytest.mark.parametrize("path", BOOLEANS, ids=FLAGS.get)
def test_a_flag_takes_back_what_the_file_says(path: Any) -> None:
    section, key = path[0], path[-1]
    inside: Any = [{"id": "7B", key: True}] if section == "models" else {key: True}
    file = {"task": "code", "models": ["7B"], section: inside}
    flag = command_of("", {path: False}, None).strip()
    flags = given(flag)
    assert flags == {path: False}
    found = resolve(flags, file).model_dump()[section]
    assert (found[0] if section == "models" else found)[key] is False
    assert given(FLAGS[path]) == {path: True}
    assert given() == {}


@pytest.mark.parametrize(
    "words",
    [
        ("--track", "mlflow", "--track", "tensorboard"),
        ("--track", "mlflow,tensorboard"),
        ("--track", "mlflow, tensorboard,"),
    ],
)
def test_trackers_are_repeated_flags_or_a_list_with_commas(words: tuple[str, ...]) -> None:
    assert given(*words) == {("search", "track"): ["mlflow", "tensorboard"]}


def test_an_unknown_tracker_of_a_list_gets_the_nearest_name() -> None:
    flags = given("--track", "mlflow,tensorbord")
    with pytest.raises(SpecError) as raised:
        resolve(flags, {"task": "code", "models": ["7B"], "data": {"examples": 100}})
    (problem,) = raised.value.problems
    assert problem.where == "--track"
    assert "'tensorbord'" in problem.what
    assert "'tensorboard'" in problem.fix


def test_a_backslash_and_an_n_in_a_template_of_columns_are_a_line_break() -> None:
    path = ("data", "columns")
    flags = {path: {"prompt": "{a}\n{b}", "completion": r"c\n"}}
    words = ["--column", r"prompt={a}\n{b}", "--column", r"completion=c\n"]
    assert given(*words) == flags
    assert command_of("", {path: {"prompt": "{a}\n{b}"}}, None).strip() == (
        r"--column 'prompt={a}\n{b}'"
    )
