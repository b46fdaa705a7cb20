"""Augmented rows are in train or nowhere, and only if what they were made from is."""

import json
from pathlib import Path

import pytest

from sweeper.data import table
from sweeper.data.prepared import dataset_of
from sweeper.errors import DataError
from sweeper.features import parts
from sweeper.features.ray import _run_check
from sweeper.spec import DataSpec, Spec
from sweeper.units import plural


def spec_of(path, augmentation=None, **data):
    return Spec(
        task="classification",
        data=DataSpec(path=str(path), **data),
        features=parts.all_options().model_validate(
            {"augmentation": {"path": augmentation and str(augmentation)}}
        ),
    )


def made_from(origin, text=None, **fields):
    text = text or f"in other words {origin.text[::-1]}"
    marks = {"augmented_from": origin.key, "augmentation_method": "paraphrase"}
    return {"text": text, "label": origin.label, **marks, **fields}


@pytest.fixture
def path(dataset):
    return dataset.path


def test_rows_made_from_train_stand_beside_it(dataset, path, write):
    train = dataset.splits["train"]
    new = write("new.jsonl", [made_from(row) for row in train[:5]])
    found = dataset_of(spec_of(path, new))
    assert len(found.further_rows) == 5
    assert found.splits == dataset.splits
    assert found.fingerprint != dataset.fingerprint
    assert dataset_of(spec_of(path)).fingerprint == dataset.fingerprint
    assert {row.source for row in found.further_rows} == {"augmented (paraphrase)"}


def test_no_row_is_used_that_leaks_or_has_another_label(dataset, path, write):
    train, held = dataset.splits["train"], dataset.splits["validation"]
    good = made_from(train[0])
    new = write(
        "new.jsonl",
        [
            good,
            good,
            made_from(held[0]),
            made_from(train[1], augmented_from=f"{train[1].key} {held[0].key}"),
            made_from(train[2], text=held[1].text),
            made_from(train[3], text=train[4].text, label=train[4].label),
            made_from(train[5], label="stone"),
            made_from(train[6], label="stone", text="one more stone of that kind"),
        ],
    )
    found = dataset_of(spec_of(path, new))
    assert [row.text for row in found.further_rows] == [good["text"]]
    said = "\n".join(found.warnings)
    for count, why in (
        (2, "made from rows that are not in train"),
        (1, "is or quotes a row of validation or test"),
        (2, "its label is not among those of train"),
        (2, "repeats another row"),
    ):
        assert f"{plural(count, 'augmented row')} left out: {why}" in said


def test_another_split_leaves_out_what_was_made_from_its_held_out_rows(dataset, path, write):
    new = write("new.jsonl", [made_from(row) for row in dataset.splits["train"]])
    found = dataset_of(spec_of(path, new, split_seed=7))
    train = {row.key for row in found.splits["train"]}
    assert 0 < len(found.further_rows) < len(dataset.splits["train"])
    assert all(set(row.made_from) <= train for row in found.further_rows)


def test_marked_rows_of_the_data_itself_are_in_train_alone(dataset, path, write):
    lines = Path(path).read_text()
    new = write("new.jsonl", [made_from(row) for row in dataset.splits["train"]])
    both = Path(path).with_name("both.jsonl")
    both.write_text(lines + new.read_text())
    found = dataset_of(spec_of(both))
    assert found.splits["validation"] == dataset.splits["validation"]
    assert found.splits["test"] == dataset.splits["test"]
    assert len(found.splits["train"]) == len(dataset.splits["train"])
    assert len(found.further_rows) == len(dataset.splits["train"])


def test_a_large_file_with_marked_rows_is_read_into_memory(dataset, path, monkeypatch):
    monkeypatch.setattr(table, "LARGE_BYTES", 0)
    assert not isinstance(dataset_of(spec_of(path)).splits["train"], tuple)
    made = made_from(dataset.splits["train"][0])
    with Path(path).open("a") as file:
        file.write(json.dumps(made) + "\n")
    found = dataset_of(spec_of(path))
    assert all(isinstance(rows, tuple) for rows in found.splits.values())
    assert [row.text for row in found.further_rows] == [made["text"]]


def test_rows_of_another_tool_need_no_marks(path, write):
    new = write("new.jsonl", [{"text": f"a new pear {n}", "label": "fruit"} for n in range(3)])
    found = dataset_of(spec_of(path, new))
    assert {row.source for row in found.further_rows} == {"augmented (another tool)"}


def test_a_file_of_which_nothing_can_be_used_is_an_error(dataset, path, write):
    new = write("new.jsonl", [made_from(row) for row in dataset.splits["test"]])
    with pytest.raises(DataError, match="12") as raised:
        dataset_of(spec_of(path, new))
    assert "made from rows that are not in train" in str(raised.value)


def test_a_file_that_is_not_there_is_named_with_its_key(path, tmp_path):
    with pytest.raises(DataError, match=r"none\.jsonl"):
        dataset_of(spec_of(path, tmp_path / "none.jsonl"))


def test_a_worker_that_cannot_see_the_file_says_so(path, tmp_path):
    assert not list(_run_check._data_problems(spec_of(path)))
    (problem,) = _run_check._data_problems(spec_of(path, tmp_path / "none.jsonl"))
    assert problem.where == "augmentation.path.0"
    assert str(tmp_path / "none.jsonl") in problem.what
