"""Which files of a folder belong to which split, as `datasets` and people name them."""

import json
from pathlib import Path

import datasets
import pytest

from sweeper.data.load import load
from sweeper.data.reading.layout import layout
from sweeper.errors import DataError
from sweeper.spec import DataSpec

ROWS = [{"text": f"text number {n}", "label": n % 2} for n in range(40)]


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train.csv", "dev.csv", "old/train.csv"], {"train": 1, "validation": 1}),
        (["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"], {"train": 2}),
        (["train/a.jsonl", "train/b.jsonl", "test/a.jsonl"], {"train": 2, "test": 1}),
        (["banking-train.csv", "banking-test.csv"], {"train": 1, "test": 1}),
        (["data-00000-of-00002.arrow", "data-00001-of-00002.arrow", "state.json"], {"train": 2}),
        (["rows.csv", "LICENSE.txt"], {"train": 1}),
    ],
)
def test_splits_by_names(names, splits):
    found = layout(Path(), names, "folder").files
    assert {split: len(files) for split, files in found.items()} == splits


def test_files_that_could_be_the_same_split_are_not_joined():
    with pytest.raises(DataError, check=lambda error: error.code == "no-training-data"):
        layout(Path(), ["train_a.csv", "train_b.csv"], "folder")


@pytest.mark.parametrize(
    "names",
    [
        ["test.csv", "test.jsonl"],
        ["test.jsonl", "test.jsonl.gz"],
        ["test-2024.jsonl", "test.jsonl"],
        ["dev.csv", "validation.csv"],
        ["Test.csv", "test.csv"],
        ["data/test.csv", "data/test.jsonl"],
    ],
)
def test_two_files_for_one_split_are_not_joined(names):
    folder = "data/" if "/" in names[0] else ""
    with pytest.raises(DataError) as error:
        layout(Path(), [f"{folder}train.csv", *names], "folder")
    (problem,) = error.value.problems
    assert problem.where == "folder"
    for name in names:
        assert name.rpartition("/")[2] in problem.what


@pytest.mark.parametrize("names", [["rows.csv", "rows.jsonl"], ["rows.csv", "rows.csv.gz"]])
def test_two_files_of_one_name_are_not_joined(names):
    with pytest.raises(DataError, match=", ".join(names)):
        layout(Path(), names, "folder")


def test_two_keys_for_one_split_are_not_joined(tmp_path):
    path = tmp_path / "all.json"
    path.write_text(json.dumps({"train": ROWS, "val": ROWS[:5], "dev": ROWS[:5]}))
    with pytest.raises(DataError, check=lambda error: error.code == "ambiguous-split"):
        load(DataSpec(path=str(path)), "classification")


def test_a_split_with_an_ending_comes_with_those_of_the_same_ending():
    names = ["test.csv", "test_sft.csv", "train.csv", "train_sft.csv"]
    assert layout(Path(), names, "folder", train="train_sft").files == {
        "train": (Path("train_sft.csv"),),
        "test": (Path("test_sft.csv"),),
    }


def test_what_save_to_disk_wrote_is_read_with_its_class_names(tmp_path):
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    one = datasets.Dataset.from_list(ROWS, features=features)
    one.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": one, "test": one.select(range(10))}).save_to_disk(
        tmp_path / "two"
    )
    single = load(DataSpec(path=str(tmp_path / "one")), "classification")
    double = load(DataSpec(path=str(tmp_path / "two")), "classification")
    assert (single.rows, single.labels) == (40, ("no", "yes"))
    assert (double.rows, double.origins["test"]) == (50, "official")


def test_the_card_of_a_folder_says_which_files_are_which_split(tmp_path):
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n"
        "  - {split: train, path: a.jsonl}\n  - {split: test, path: b.jsonl}\n---\n"
    )
    for name, rows in (("a", ROWS), ("b", ROWS[:10])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    dataset = load(DataSpec(path=str(tmp_path)), "classification")
    assert dataset.origins["test"] == "official"


def test_an_arrow_file_of_either_kind_is_read(tmp_path):
    import pyarrow as pa

    table = pa.Table.from_pylist(ROWS)
    for kind in ("stream", "file"):
        path = tmp_path / f"{kind}.arrow"
        with (
            pa.OSFile(str(path), "wb") as sink,
            getattr(pa.ipc, f"new_{kind}")(sink, table.schema) as writer,
        ):
            writer.write_table(table)
        assert load(DataSpec(path=str(path)), "classification").rows == 40
    broken = tmp_path / "broken.arrow"
    broken.write_bytes(b"ARROW1 and no more")
    with pytest.raises(DataError, check=lambda error: error.code == "damaged-file"):
        load(DataSpec(path=str(broken)), "classification")
