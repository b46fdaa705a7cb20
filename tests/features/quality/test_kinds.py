"""Every kind of fault, planted into data sets: how many are found, and how many clean rows are."""

import copy
import json
import random

import pytest

from sweeper.data.rows import read_rows
from sweeper.features.quality._checked_rows import CheckedRows
from sweeper.features.quality._kinds.base import kinds
from sweeper.spec import DataSpec
from tests.features.quality.planting import CASES, PLANTS, made, plain, real, sentence

RECALL, FALSE_ALARMS = 0.85, 0.05
SOUGHT = [(name, classes) for name, classes in CASES if not kinds()[name].instead_of]
REAL = {"snips7": ("text", "label", True), "gsm8k": ("question", "answer", False)}


def found(planted, kind, folder):
    folder.mkdir()
    data = planted.read(folder)
    if why := kind.why_unchecked(data):
        if "rensa" in why:
            pytest.skip(why)
        return set()
    rows = [data.rows[fault.row_index] for fault in kind.find(data)]
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
    assert {
        name: len(kind.find(data)) for name, kind in kinds().items() if not kind.why_unchecked(data)
    } == {name: 0 for name, kind in kinds().items() if not kind.why_unchecked(data)}


def rows_of(tmp_path, rows, task=None):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return CheckedRows.of(read_rows(DataSpec(path=str(path)), task))


def lines(data, name):
    return sorted({data.rows[fault.row_index].line for fault in kinds()[name].find(data)})


LABELS = {
    " fruit": "label-variants",
    "fruit\t": "label-variants",
    "ripe  fruit": "label-variants",
    "Ripe_Fruit": "label-variants",
    "fruit\u200b": "label-variants",
    "ripe fuit": "misspelt-labels",
    "quartz": "rare-labels",
}


@pytest.mark.parametrize("label", LABELS)
def test_a_rare_label_is_reported_as_one_kind(tmp_path, label):
    names = ("fruit", "ripe fruit", "metal")
    rows = [{"text": f"number {n} of the list", "label": names[n % 3]} for n in range(60)]
    data = rows_of(tmp_path, [*rows, {"text": "the last number", "label": label}])
    found = {one: lines(data, one) for one in dict.fromkeys([*LABELS.values(), "white-space"])}
    assert {one: where for one, where in found.items() if where} == {LABELS[label]: [61]}


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_few_rows_are_of_unusual_length_where_answers_are_short(tmp_path, share):
    rng = random.Random(0)
    rows = [
        {
            "prompt": sentence(rng),
            "completion": f"no, {sentence(rng)}" if rng.random() < share else "yes",
        }
        for _ in range(400)
    ]
    assert lines(rows_of(tmp_path, rows), "lengths") == []
    rows[17]["completion"] = " ".join(sentence(rng) for _ in range(40))
    assert lines(rows_of(tmp_path, rows), "lengths") == [18]


def test_an_assistant_with_tools_may_say_what_it_cannot_do(tmp_path):
    answer = {"role": "assistant", "content": "I'm sorry, but I cannot help with that request."}
    tools = [{"name": "weather", "parameters": {}}]
    rows = [
        {"messages": [{"role": "user", "content": f"What is {n}?"}, answer], "tools": own}
        for n, own in enumerate([tools, []] * 20)
    ]
    assert lines(rows_of(tmp_path, rows), "refusals") == [*range(2, 41, 2)]


def test_markup_is_no_fault_where_it_is_the_subject(tmp_path):
    texts = (
        *("Use the <b> tag for bold", "What does &amp; mean in HTML?", "if a<b and b>c", "AT&T"),
        "Here: ```<p>one</p>```",
        "<p>Hello</p>",
        "Fish &amp; chips",
    )
    rows = [{"prompt": text, "completion": f"number {n}"} for n, text in enumerate(texts * 5)]
    found = {row - 1 for row in lines(rows_of(tmp_path, rows), "markup")}
    assert {texts[place % len(texts)] for place in found} == {"<p>Hello</p>", "Fish &amp; chips"}


def test_the_turns_that_follow_the_last_answer_are_cut_off(tmp_path):
    turns = [
        {"role": role, "content": role} for role in ("user", "assistant", "user", "system", "user")
    ]
    rows = [{"messages": turns[: 2 + n % 4]} for n in range(20)]
    data = rows_of(tmp_path, rows)
    faults = kinds()["last-turn"].find(data)
    assert lines(data, "last-turn") == [n + 1 for n in range(20) if n % 4]
    mended = kinds()["last-turn"].mend(data, faults)
    assert all(row.fields["messages"] == turns[:2] for row in mended.values())
