from __future__ import annotations

import inspect
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from sweeper.cli.options import spec_flags, takes_spec
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
    section, *inner, key = path
    inside: Any = [{"id": "7B", key: True}] if section == "models" else {key: True}
    if section == "features":
        inside = {inner[0]: inside}
    file = {"task": "code", "models": ["7B"], section: inside}
    named = FLAGS[path]
    flags = given(named.replace("--no-", "--") if "--no-" in named else f"--no-{named[2:]}")
    assert flags == {path: False}
    found = resolve(flags, file).model_dump()[section]
    for part in inner:
        found = found[part]
    assert found[key] is False
    assert given(FLAGS[path]) == {path: True}
    assert given() == {}


def test_a_backslash_and_an_n_in_a_template_of_columns_are_a_line_break() -> None:
    path = ("data", "columns")
    flags = {path: {"prompt": "{a}\n{b}", "completion": r"c\n"}}
    words = ["--column", r"prompt={a}\n{b}", "--column", r"completion=c\n"]
    assert given(*words) == flags


def test_a_list_may_be_repeated_or_have_commas() -> None:
    path = ("aim", "strategies")
    for words in (["--strategies", "lora,full"], ["--strategies", "lora", "--strategies", "full"]):
        assert given(*words) == {path: ["lora", "full"]}


def test_a_command_may_take_the_flags_of_some_sections():
    @takes_spec(sections=("data", "hardware"))
    def command(flags: dict, own: int = 1) -> None: ...

    parameters = inspect.signature(command).parameters
    expected = {flag.name for flag in spec_flags(run=False) if flag.path[0] in ("data", "hardware")}
    assert {"data", "gpu_memory", "price"} < expected
    assert set(parameters) == {"own", *expected}
