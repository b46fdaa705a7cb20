"""Wrong labels: which rows are looked at, and how many are suspected with and without faults."""

import json
import random

import pytest

from sweeper.data.labels import folded
from sweeper.data.rows import read_rows
from sweeper.features.quality._kinds.base import kinds
from sweeper.features.quality._trust import CATCH_ALL, MIN_CONFIDENCE, label_trust
from sweeper.spec import DataSpec
from tests.features.quality.planting import PLANTS, made, sentence

pytest.importorskip("sklearn")
NOISE = "label-noise"


def lines(data):
    return {(row.split, row.line) for row in suspects(data)}


def suspects(data):
    return [data.rows[fault.row_index] for fault in kinds()[NOISE].find(data)]


def test_only_rows_of_train_are_looked_at(tmp_path):
    planted = made(classes=True)
    labels = [row["label"] for row in planted.rows["test"]]
    for row, label in zip(planted.rows["test"], labels[1:] + labels[:1], strict=True):
        row["label"] = label
    PLANTS[NOISE][0](planted, random.Random(1))
    data = planted.read(tmp_path)
    assert {row.split for row in suspects(data)} == {"train"}
    assert {data.rows[place].split for place in label_trust(data).row_indexes} == {"train"}


@pytest.mark.parametrize("name", ["oos", "Other", "none of the above", "out_of_scope"])
def test_rows_of_a_class_for_all_else_are_left_out(tmp_path, name):
    assert folded(name) in CATCH_ALL
    rng = random.Random(0)
    planted = made(classes=True)
    verbs = "know think believe guess wonder imagine".split()  # noqa: SIM905
    planted.rows["train"] += [{"text": sentence(rng, verbs), "label": name} for _ in range(60)]
    for row in planted.rows["train"][:30]:  # which belong to other classes by their words
        row["label"] = name
    data = planted.read(tmp_path)
    trust = label_trust(data)
    assert name not in {data.rows[place].label for place in trust.row_indexes}
    assert name not in trust.predicted
    assert not {("train", line) for line in range(1, 31)} & lines(data)


def test_a_suspect_has_another_label_with_enough_confidence(tmp_path):
    planted = made(classes=True)
    PLANTS[NOISE][0](planted, random.Random(1))
    trust = label_trust(planted.read(tmp_path))
    assert sum(trust.suspected) >= 18
    for suspected, confidence in zip(trust.suspected, trust.confidence, strict=True):
        assert confidence >= MIN_CONFIDENCE or not suspected


def test_at_most_a_hundredth_of_small_clean_data_sets_is_suspected(tmp_path):
    faults = dict.fromkeys((NOISE, "relabel"), 0)
    for seed in range(6):
        data = made(classes=True, rows=120, seed=seed).read(tmp_path)
        for name in faults:
            faults[name] += len(kinds()[name].find(data))
    assert faults[NOISE] <= 0.01 * 6 * 120
    assert faults["relabel"] <= 0.002 * 6 * 120


FIGURES = (("snips7", 0.93, 0.95), ("banking77", 0.83, 0.9))
"""Data sets of 7 and 77 labels, the share of 5% wrong labels that is suspected at least, and the
share of the labels that `relabel` writes which must be right."""


@pytest.mark.parametrize(("name", "share", "right"), FIGURES)
def test_few_rows_of_real_data_are_suspected_and_most_wrong_labels_are(
    shared_data, tmp_path, name, share, right
):
    texts = (shared_data / name / "train.jsonl").read_text().splitlines()
    rows = [json.loads(text) for text in texts]
    data = read_rows(DataSpec(path=str(shared_data / name / "train.jsonl")), "classification")
    assert len(suspects(data)) <= 0.01 * len(rows)
    assert len(kinds()["relabel"].find(data)) <= 0.002 * len(rows)
    rng = random.Random(1)
    clean = [row["label"] for row in rows]
    wrong = {("train", place + 1) for place in rng.sample(range(len(rows)), len(rows) // 20)}
    for _, line in wrong:
        rows[line - 1]["label"] = rng.choice(sorted({*clean} - {clean[line - 1]}))
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    data = read_rows(DataSpec(path=str(path)), "classification")
    found = lines(data)
    assert len(found & wrong) >= share * len(wrong)
    assert len(found - wrong) <= 0.01 * len(rows)
    trust = label_trust(data)
    written = [
        label == clean[data.rows[place].line - 1]
        for place, label, certain in zip(
            trust.row_indexes, trust.predicted, trust.certain, strict=True
        )
        if certain
    ]
    assert len(written) >= 0.4 * len(wrong)
    assert sum(written) >= right * len(written)
    # Confidence is a probability: of the labels that are likely by 70% to 90%, about 80% are right.
    likely = [
        label == clean[data.rows[place].line - 1]
        for place, label, chance in zip(
            trust.row_indexes, trust.predicted, trust.confidence, strict=True
        )
        if 0.7 <= chance < 0.9
    ]
    assert 0.7 <= sum(likely) / len(likely) <= 0.9
