"""``sweeper data split``: every row is in one file, and official splits stay."""

import json

import pytest

from sweeper.data.load import load
from sweeper.spec import DataSpec

ROWS = [
    {
        "text": f"{word} number {n} of the list",
        "label": "ab"[n % 2],
        "day": f"2024-01-{n % 28 + 1:02}",
    }
    for n, word in enumerate(["apple", "stone", "river", "candle", "window"] * 30)
]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_row_is_in_one_file_also_one_that_is_empty(sweeper, tmp_path):
    rows = [*ROWS, {"text": "", "label": "a", "day": ""}]
    path = write(tmp_path / "rows.jsonl", rows)
    with open(path, "a") as file:
        file.write("{broken\n")
    ran = sweeper("data", "split", path, "-o", str(tmp_path / "new"))
    assert ran.code == 0
    files = {split: read(tmp_path / "new" / f"{split}.jsonl")
             for split in ("train", "validation", "test")}  # fmt: skip
    key = json.dumps
    written = [row for part in files.values() for row in part]
    assert sorted(map(key, written)) == sorted(map(key, rows))
    assert f"train      {len(files['train']):>9,} rows" in ran.out
    assert "2 classes, whose shares in the splits and in all rows differ by up to" in ran.out
    assert "1 row is not written: unreadable (line 152)" in ran.out


@pytest.mark.parametrize(
    ("flags", "spec"),
    [
        ((), {}),
        (("--seed", "3"), {"split_seed": 3}),
        (("--by-hash",), {"split_by": "hash"}),
        (("--group-by", "day"), {"split_by": "group", "split_column": "day"}),
        (("--by-time", "day"), {"split_by": "time", "split_column": "day"}),
    ],
)
def test_a_run_on_the_folder_has_the_splits_of_a_run_on_the_file(sweeper, tmp_path, flags, spec):
    rare = [{**row, "label": "c"} for row in ROWS[:4]]
    once = {**ROWS[4], "text": "the only row of its class", "label": "d"}
    path = write(tmp_path / "rows.jsonl", [*ROWS[4:], *rare, once, {**ROWS[5], "text": " "}])
    assert sweeper("data", "split", path, "-o", str(tmp_path / "new"), *flags).code == 0
    here = load(DataSpec(path=path, **spec), "classification")
    there = load(DataSpec(path=str(tmp_path / "new")), "classification")
    assert there.fingerprint == here.fingerprint
    assert there.rows == here.rows == len(ROWS)


def test_each_class_is_in_every_split(sweeper, tmp_path):
    rows = [{**row, "label": "rare" if n < 3 else row["label"]} for n, row in enumerate(ROWS)]
    path = write(tmp_path / "rows.jsonl", rows)
    ran = sweeper("data", "split", path, "-o", str(tmp_path / "new"), "--json")
    labels = json.loads(ran.out)["labels"]
    assert [labels[split]["rare"] for split in ("train", "validation", "test")] == [1, 1, 1]


def test_a_share_of_zero_makes_no_split(sweeper, tmp_path):
    path = write(tmp_path / "rows.jsonl", ROWS)
    ran = sweeper(
        "data", "split", path, "-o", str(tmp_path / "new"), "--test-fraction", "0", "--json"
    )
    assert json.loads(ran.out)["rows"]["test"] == 0
    assert sorted(file.stem for file in (tmp_path / "new").iterdir()) == ["train", "validation"]


def test_a_column_and_official_splits_decide(sweeper, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    write(folder / "train.jsonl", ROWS[:100])
    write(folder / "test.jsonl", ROWS[100:])
    new = tmp_path / "new"
    ran = sweeper("data", "split", str(folder), "-o", str(new), "--by-time", "day", "--json")
    told = json.loads(ran.out)
    assert told["official"] == ["test"]
    assert told["rows"]["test"] == 50
    days = {split: {row["day"] for row in read(new / f"{split}.jsonl")}
            for split in ("train", "validation")}  # fmt: skip
    assert max(days["train"]) < min(days["validation"])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--group-by", "user"), "there is no column 'user' to split by"),
        (("--group-by", "label", "--by-time", "day"), "--group-by and --by-time were given"),
        (("--test-fraction", "0.6", "--validation-fraction", "0.5"), "would take 110% of the rows"),
        (("--by-time", "text"), "holds no times"),
    ],
)
def test_what_cannot_be_split_is_said(sweeper, tmp_path, more, said):
    path = write(tmp_path / "rows.jsonl", ROWS)
    ran = sweeper("data", "split", path, "-o", str(tmp_path / "new"), *more)
    assert ran.code == 2
    assert said in ran.err
    assert not (tmp_path / "new").exists()


def test_numbered_classes_keep_their_names(sweeper, tmp_path):
    import datasets

    names = datasets.ClassLabel(names=["no", "yes"])
    features = datasets.Features({"text": datasets.Value("string"), "label": names})
    rows = [{"text": row["text"], "label": n % 2} for n, row in enumerate(ROWS)]
    path = tmp_path / "rows.parquet"
    datasets.Dataset.from_list(rows, features=features).to_parquet(path)
    assert sweeper("data", "split", str(path), "-o", str(tmp_path / "new")).code == 0
    dataset = load(DataSpec(path=str(tmp_path / "new")), "classification")
    assert dataset.labels == ("no", "yes")
