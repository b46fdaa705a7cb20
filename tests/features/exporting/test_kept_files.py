"""Only files that sweeper wrote leave a run; a link, which may point anywhere, is refused."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from sweeper.cli.main import main
from sweeper.errors import UsageError
from sweeper.features.exporting._weights import kept_files
from sweeper.features.exporting.commands import answers

SECRET = "hf_planted_secret"
FILES = ("adapter/adapter_config.json", "adapter/adapter_model.safetensors", "tokenizer.json")


def write(folder: Path, names=FILES) -> Path:
    """A weights folder as a trial keeps it."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    record = {"strategy": "lora", "base_dtype": "float32", "pooling": None, "files": names}
    (folder / "sweeper.json").write_text(json.dumps(record))
    (folder / "README.md").write_text("# Mine\n")
    return folder


@pytest.fixture
def weights(tmp_path):
    return write(tmp_path / "weights")


@pytest.fixture
def secret(tmp_path):
    """A folder with files that are not of the run, under names that a trial writes."""
    outside = write(tmp_path / "outside", ("adapter_config.json", "adapter_model.safetensors"))
    for path in outside.iterdir():
        path.write_text(json.dumps({"token": SECRET}))
    return outside / "adapter_config.json"


def test_the_files_of_the_record_are_copied_and_others_stay_behind(weights):
    (weights / "adapter" / "notes.txt").write_text("mine")
    kept = kept_files(weights)
    assert kept.names == ("README.md", *FILES[:2], "sweeper.json", "tokenizer.json")
    assert kept.left_out == ("adapter/notes.txt",)


def link_a_file(weights, secret):
    (weights / "tokenizer.json").unlink()
    (weights / "tokenizer.json").symlink_to(secret)


def link_a_file_without_need(weights, secret):
    (weights / "vocab.txt").symlink_to(secret)


def link_a_folder(weights, secret):
    shutil.rmtree(weights / "adapter")
    (weights / "adapter").symlink_to(secret.parent)


def link_the_record(weights, secret):
    (weights / "sweeper.json").unlink()
    (weights / "sweeper.json").symlink_to(secret)


def link_all(weights, secret):
    shutil.rmtree(weights)
    write(secret.parent)
    weights.symlink_to(secret.parent)


def pipe(weights, secret):
    os.mkfifo(weights / "vocab.txt")


def name_a_file_outside(weights, secret):
    path = os.path.relpath(secret, weights)
    assert (weights / path).is_file()
    (weights / "sweeper.json").write_text(json.dumps({"files": [*FILES, path]}))


def name_nothing(weights, secret):
    (weights / "sweeper.json").write_text(json.dumps({"files": []}))


@pytest.mark.parametrize(
    ("plant", "entry"),
    [
        (link_a_file, "tokenizer.json"),
        (link_a_file_without_need, "vocab.txt"),
        (link_a_folder, "adapter"),
        (link_the_record, "sweeper.json"),
        (link_all, "weights"),
        (pipe, "vocab.txt"),
        (name_a_file_outside, "../outside/adapter_config.json"),
        (name_nothing, "sweeper.json"),
    ],
)
def test_what_is_no_file_of_the_folder_is_refused(weights, secret, plant, entry):
    plant(weights, secret)
    with pytest.raises(UsageError) as refused:
        kept_files(weights)
    (problem,) = refused.value.problems
    assert entry in problem.what + problem.why
    assert SECRET not in str(refused.value)


@pytest.fixture
def ended(monkeypatch, capsys):
    """Runs a command: its exit code and output."""

    def run(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["sweeper", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), "".join(capsys.readouterr())

    return run


COMMANDS = [
    *(("export", "made", "--to", to, "--trial", "0") for to in ("model", "merged", "peft", "trl")),
    ("push", "made", "--repo", "acme/winner", "--trial", "0"),
]


@pytest.mark.parametrize("plant", [link_a_file, link_a_folder])
def test_no_command_copies_what_a_link_points_to(finished, questions, secret, ended, plant):
    run = finished(questions, "--task", "instruction")
    plant(write(run.trial(0) / "weights"), secret)
    for command in COMMANDS:
        code, said = ended(*command)
        assert code == 2, command
        assert "links, pipes and devices" in said
        assert SECRET not in said
    assert not [path for path in run.path.glob("exports/**/*") if path.is_file()]


def test_a_secret_in_a_tokenizer_does_not_leave_the_run(finished, questions, ended):
    run = finished(questions, "--task", "instruction")
    weights = write(run.trial(0) / "weights")
    token = "sk_" + "live_" + "a1B2c3D4" * 3
    (weights / "tokenizer.json").write_text(json.dumps({"vocab": [token]}))
    for command in COMMANDS[:3] + COMMANDS[4:]:
        code, said = ended(*command, *(("--license", "mit") if command[0] == "push" else ()))
        assert code == 2, command
        assert "tokenizer.json" in said
        assert "Stripe Access Key" in said
        assert token not in said
    assert not [path for path in run.path.glob("exports/**/*") if path.is_file()]


def test_a_linked_model_card_is_not_pushed(finished, questions, secret, ended):
    run = finished(questions, "--task", "instruction")
    write(run.trial(0) / "weights")
    (run.path / "MODEL_CARD.md").symlink_to(secret)
    code, said = ended("push", "made", "--repo", "acme/winner", "--license", "mit")
    assert code == 2
    assert "MODEL_CARD.md" in said
    assert SECRET not in said


def test_a_model_is_exported_without_files_of_others(finished, questions, ended):
    run = finished(questions, "--task", "instruction")
    weights = write(run.trial(0) / "weights")
    (weights / "notes.txt").write_text("mine")
    code, said = ended("export", "made", "--to", "model", "--trial", "0", "--json")
    assert code == 0
    assert TypeAdapter(answers()["export"]).validate_json(said)["not_copied"] == ["notes.txt"]
    code, said = ended("export", "made", "--to", "trl", "--trial", "0", "--json")
    shown = TypeAdapter(answers()["export"]).validate_json(said)
    assert shown.keys() == {"folder", "trial", "command", "not_taken_over"}
    made = run.path / "exports" / "model"
    assert {path.name for path in made.iterdir()} == {
        "adapter", "README.md", "sweeper.json", "tokenizer.json"
    }  # fmt: skip
