"""Every kind of fault, planted into data sets: how many are found, and how many clean rows are."""

import copy
import random

import pytest

from sweeper.data.quality.kinds.base import kinds
from tests.data.quality.planting import CASES, PLANTS, made, plain, real

RECALL, FALSE_ALARMS = 0.85, 0.05
SOUGHT = [(name, classes) for name, classes in CASES if not kinds()[name].instead_of]
REAL = {"snips7": ("text", "label", True), "gsm8k": ("question", "answer", False)}


def found(planted, kind, folder):
    folder.mkdir()
    data = planted.read(folder)
    if why := kind.missing(data):
        if "rensa" in why:
            pytest.skip(why)
        return set()
    rows = [data.rows[fault.place] for fault in kind.find(data)]
    return {(row.split, row.line) for row in rows}


def measured(clean, name, folder):
    """Recall, and false alarms as a share of clean rows, beyond what was found before planting."""
    kind, plant = kinds()[name], PLANTS[name][0]
    before = found(clean, kind, folder / "before")
    planted = copy.deepcopy(clean)
    plant(planted, random.Random(1))
    after = found(planted, kind, folder / "after")
    rows = sum(map(len, planted.rows.values()))
    recall = len(after & planted.lines) / len(planted.lines)
    false = len(after - planted.lines - before) / max(1, rows - len(planted.lines))
    print(f"{name}: recall {recall:.0%}, false alarms {false:.1%} ({len(before)} found before)")
    return recall, false


def test_every_kind_of_fault_is_planted():
    assert set(PLANTS) == set(kinds())


@pytest.mark.parametrize(("name", "classes"), SOUGHT)
def test_planted_faults_are_found_and_clean_rows_are_not(tmp_path, name, classes):
    recall, false = measured(made(classes), name, tmp_path)
    assert recall >= RECALL
    assert false <= FALSE_ALARMS


@pytest.mark.parametrize(("name", "classes"), SOUGHT)
def test_faults_planted_into_real_data_are_found(shared_data, tmp_path, name, classes):
    folder = "snips7" if classes else "gsm8k"
    recall, false = measured(real(shared_data / folder, *REAL[folder]), name, tmp_path)
    assert recall >= RECALL
    assert false <= FALSE_ALARMS


@pytest.mark.parametrize("name", ["languages", "conflicts", "lengths"])
def test_faults_are_found_where_inputs_are_tables_with_several_references(
    shared_data, tmp_path, name
):
    clean = plain(shared_data / "e2e_nlg", "mr", "ref")
    recall, false = measured(clean, name, tmp_path)
    assert recall >= RECALL
    assert false <= FALSE_ALARMS


@pytest.mark.parametrize("classes", [True, False])
def test_a_clean_data_set_has_no_faults(tmp_path, classes):
    data = made(classes).read(tmp_path)
    able = [kind for kind in kinds().values() if not kind.missing(data)]
    counts = {kind.name: len(kind.find(data)) for kind in able}
    for kind in able:
        # Words of chance make a few labels look wrong.
        assert counts[kind.name] <= (0.02 * len(data.rows) if kind.uses_model else 0)
