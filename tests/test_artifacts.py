"""The artifacts between the stages: frozen, versioned, the same after a trip through JSON."""

import json

import pytest
from pydantic import ValidationError

from sweeper.artifact import VERSION
from sweeper.errors import OtherVersion, UsageError
from sweeper.facts.record import TrainingSetup
from sweeper.plans import TrialBudget
from sweeper.spec import DataSpec, ModelSpec, Spec
from sweeper.specfile import resolve
from sweeper.trials import RungReport, TrialConfig


def a_spec() -> Spec:
    return Spec(
        task="classification",
        models=(ModelSpec(id="packaged:minilm"),),
        data=DataSpec(path="rows.jsonl", columns={"text": "question"}),
    )


def a_config() -> TrialConfig:
    return TrialConfig(
        number=3,
        seed=1,
        origin="search",
        task="classification",
        strategy="lora",
        model="packaged:minilm",
        parameters={"learning_rate": 2e-4, "r": 16, "target_modules": "all-linear", "dora": False},
        budget=TrialBudget(epochs=3, full_tokens=90_000, rung_items=120),
        setup=TrainingSetup(
            micro_batch=16, evaluation_batch=32, precision="fp32", sequence_length=128
        ),
    )


def test_round_trip_keeps_every_field_and_its_type():
    config = a_config()
    again = TrialConfig.from_json(config.to_json())
    assert again == config
    assert again.parameters["dora"] is False
    assert isinstance(again.parameters["r"], int)
    spec = a_spec()
    assert Spec.from_json(spec.to_json()) == spec


def test_an_artifact_is_frozen_and_refuses_unknown_fields():
    with pytest.raises(ValidationError):
        a_config().seed = 2
    with pytest.raises(ValidationError):
        ModelSpec(id="x", branch="main")


@pytest.mark.parametrize("version", [0, 99, "1"])
def test_another_version_is_refused_older_or_newer(tmp_path, version):
    fields = json.loads(a_config().to_json()) | {"schema_version": version}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(fields))
    with pytest.raises(OtherVersion) as error:
        TrialConfig.read(path)
    (problem,) = error.value.problems
    assert problem.where == str(path)
    assert repr(version) in problem.what
    assert str(VERSION) in problem.what
    assert "--new" in problem.fix


@pytest.mark.parametrize("change", [{"colour": "red"}, {"seed": None}], ids=["more", "less"])
def test_fields_of_another_version_are_no_damage(tmp_path, change):
    fields = json.loads(a_config().to_json()) | change
    path = tmp_path / "config.json"
    path.write_text(
        json.dumps({name: value for name, value in fields.items() if value is not None})
    )
    with pytest.raises(OtherVersion) as error:
        TrialConfig.read(path)
    (problem,) = error.value.problems
    assert problem.where == str(path)
    assert next(iter(change)) in problem.what
    assert "--new" in problem.fix


def test_a_request_of_another_version_is_refused_with_its_line(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text("task: code\nschema_version: 0\nmodel: 7B\nfields: of that version\n")
    with pytest.raises(OtherVersion) as error:
        resolve({}, path)
    (problem,) = error.value.problems
    assert problem.where == f"{path}:2 schema_version"


def test_a_damaged_file_names_file_and_field(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(a_config().to_json()) | {"number": "three"}))
    with pytest.raises(UsageError, match=r"config\.json.*number") as error:
        TrialConfig.read(path)
    assert not isinstance(error.value, OtherVersion)
    path.write_text("{")
    with pytest.raises(UsageError, match="TrialConfig"):
        TrialConfig.read(path)


def test_a_diverged_loss_survives_json():
    report = RungReport(
        number=0,
        attempt=1,
        rung=2,
        validation_loss=float("inf"),
        items=10,
        optimizer_steps=5,
        epochs=0.5,
        tokens=100,
        training_seconds=1.0,
        evaluation_seconds=0.1,
    )
    assert RungReport.from_json(report.to_json()).validation_loss == float("inf")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "config.json"
    config = a_config()
    config.write(path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(OSError, match="No space"):
        config.model_copy(update={"seed": 9}).write(path)
    assert TrialConfig.read(path) == config
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]


def test_a_record_takes_over_the_fields_that_another_one_has_by_the_same_name():
    taken = TrialBudget.taken_from(a_config().budget, epochs=1.5)
    assert taken == a_config().budget.model_copy(update={"epochs": 1.5})
    assert ModelSpec.taken_from(None, id="7B") == ModelSpec(id="7B")
    with pytest.raises(ValidationError, match="other"):
        ModelSpec.taken_from(None, id="7B", other=1)
