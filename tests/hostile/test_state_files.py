"""YAML that multiplies or holds itself, JSON that is nested too deeply, files cut anywhere."""

import errno
import os

import pytest

from sweeper.errors import UsageError
from sweeper.execution.state.attempts import read_items
from sweeper.execution.state.continuation import statuses
from sweeper.execution.state.status import Status
from sweeper.facts.models.model_folder import read_json
from sweeper.objective import LOSS
from sweeper.runfolder import RunFolder
from sweeper.textfiles import json_object, json_value, write_text
from sweeper.yamlfile import parse

DEEP = "[" * 100_000

YAML = {
    "alias bomb": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(
        f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "self-reference": "a: &a [*a]\n",
    "a mapping in itself": "&a\nb: *a\n",
    "a key that is itself": "? &a [*a]\n: 1\n",
    "deep list": DEEP + "]" * 100_000,
    "deep mapping": "{a: " * 100_000,
    "deep block": "".join(f"{' ' * n}a:\n" for n in range(300)),
    "cut list": DEEP,
}  # fmt: skip


@pytest.mark.parametrize("text", YAML.values(), ids=YAML)
def test_yaml_that_multiplies_is_refused_with_its_line(text):
    with pytest.raises(UsageError) as caught:
        parse(text, "sweep.yaml")
    assert str(caught.value).startswith("sweep.yaml:")


def test_an_alias_for_a_short_value_is_read():
    assert parse("a: &a [1, 2]\nb: *a\n", "x").data == {"a": [1, 2], "b": [1, 2]}


@pytest.mark.parametrize("text", [DEEP, '{"a":' * 100_000, "", "nul\0", "[1", "{}", "3", "null"])
def test_a_damaged_status_is_a_message(tmp_path, text):
    (tmp_path / "status.json").write_text(text)
    with pytest.raises(UsageError, match=r"status\.json"):
        Status.read(tmp_path / "status.json")
    assert statuses([RunFolder(tmp_path)]) == {}  # as findings read it


def test_json_beside_models_and_trials_may_be_nested_too_deeply(tmp_path):
    (tmp_path / "config.json").write_text(DEEP)
    with pytest.raises(UsageError, match=r"config\.json"):
        read_json(tmp_path / "config.json")
    for text in (DEEP, "[1]", "null", '{"losses": {}}', '{"losses": [1, "x"]}'):
        (tmp_path / "item_losses.json").write_text(text)
        assert read_items(tmp_path / "item_losses.json", LOSS) is None


@pytest.mark.parametrize("text", [DEEP, '{"a":' * 100_000, "", "nul\0", "[1", b"\xff"])
def test_whatever_is_wrong_with_json_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"\w"):
        json_value(text)


@pytest.mark.parametrize("text", ["3", "null", "[1]", '"a"'])
def test_json_that_is_no_object_is_a_value_error(text):
    with pytest.raises(ValueError, match="object"):
        json_object(text)


def test_a_full_disk_at_the_lock_does_not_matter(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    run = RunFolder(tmp_path / "x")
    with run.lock():
        assert run.held


def test_a_device_that_is_named_as_an_output_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_text(pipe, "said")
        assert os.read(reading, 10) == b"said"
        assert pipe.is_fifo()
    finally:
        os.close(reading)
