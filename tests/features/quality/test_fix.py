"""Remedies: a fixed file checks clean, fixing twice changes nothing, and no row goes unlisted."""

import copy
import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeper.data.rows import read_rows
from sweeper.data.write_rows import apply_changes, write_rows
from sweeper.errors import DataError
from sweeper.features.quality._check import check
from sweeper.features.quality._checked_rows import CheckedRows
from sweeper.features.quality._fix import fix
from sweeper.features.quality._kinds.base import kinds
from sweeper.spec import DataSpec
from tests.features.quality.planting import CASES, PLANTS, made

QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def lines_of(rows):
    return sorted((row.path, row.line) for row in rows)


def mended(data, wanted):
    """The fixed rows, after checking what holds for every fix."""
    able = [kind for kind in wanted if not kind.why_unchecked(data)]
    fixed = fix(data, able)
    assert apply_changes(data, fixed.changes).rows == fixed.data.rows
    removed = [(c.path, c.line) for c in fixed.changes if c.action == "removed"]
    assert len(set(removed)) == len(removed)
    assert sorted([*lines_of(fixed.data.rows), *removed]) == lines_of(data.rows)
    changed = {(c.path, c.line) for c in fixed.changes if c.action == "changed"}
    before = {(row.path, row.line): row.fields for row in data.rows}
    for row in fixed.data.rows:
        place = (row.path, row.line)
        assert row.fields == before[place] or place in changed
    return fixed


@pytest.mark.parametrize(
    ("name", "classes"), [case for case in CASES if kinds()[case[0]].has_remedy]
)
def test_a_fixed_data_set_checks_clean_and_fixing_it_again_changes_nothing(tmp_path, name, classes):
    planted = made(classes, rows=160)
    PLANTS[name][0](planted, random.Random(2))
    data = planted.read(tmp_path)
    kind = kinds()[name]
    if why := kind.why_unchecked(data):
        pytest.skip(why)
    fixed = mended(data, [kind])
    assert fixed.changes or name == "label-sets"
    left = kind.find(fixed.data)
    if name == "garbled":
        left = [fault for fault in left if fault.detail != "characters are lost"]
    if name == "label-sets":
        left = [fault for fault in left if " is " in fault.detail]
    if kind.uses_model:  # which would find more in what it changed
        assert len(fixed.changes) == len(kind.find(data))
        return
    assert left == []
    assert fix(fixed.data, [kind]).changes == ()


TEXTS = st.sampled_from(
    [
        *("", " ", "where is my card", "Where is my  card ", "where is my card\u200b", "cafÃ©"),
        *(
            "[INST] hi there [/INST]",
            "mail ann@mail.org",
            "Как дела сегодня",
            "a" * 900,
            "\ufeffhi",
        ),
        *("I'm sorry, but I cannot help.", "how do I get the new one", "how do I get the new ones"),
    ]
)
LABELS = st.sampled_from(["card", "Card", "card ", "crad", "loan", "LOAN", "other", "", "weather"])
CELLS = st.one_of(TEXTS, TEXTS, TEXTS, st.none(), st.integers(), st.just({"odd": [1]}))


@st.composite
def files(draw):
    """Lines of a file with classes or with answers, some of them broken."""
    classes = draw(st.booleans())
    names = ("text", "label") if classes else ("prompt", "completion")
    answers = LABELS if classes else CELLS
    rows = draw(st.lists(st.tuples(CELLS, answers), min_size=1, max_size=12))
    good = [("where is the card of mine", "card"), ("what is the way to a loan", "loan")] * 8
    lines = [json.dumps(dict(zip(names, row, strict=True))) for row in [*good, *rows]]
    lines += draw(st.lists(st.sampled_from(['{"text": ', "no JSON", "[1]"]), max_size=3))
    return draw(st.permutations(lines))


@QUICK
@given(files(), st.sets(st.sampled_from(sorted(kinds())), min_size=1))
def test_any_file_is_fixed_once_and_no_row_goes_unlisted(tmp_path, lines, names):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(lines))
    try:
        data = CheckedRows.of(read_rows(DataSpec(path=str(path)), None))
    except DataError:
        return
    wanted = [kinds()[name] for name in names if not kinds()[name].why_unchecked(data)]
    fixed = mended(data, wanted)
    for kind in wanted:  # what is left to find is what the remedy says that it leaves
        assert kind.mend(fixed.data, kind.find(fixed.data)) == {}
    assert fix(fixed.data, wanted).changes == ()
    # The same holds for the file that is written: line numbers aside, it holds the same rows.
    new = tmp_path / "new.jsonl"
    write_rows(new, [row.fields for row in fixed.data.rows])
    if not any(row.example for row in fixed.data.rows):
        return
    try:
        again = read_rows(DataSpec(path=str(new)), data.task)
    except DataError:
        return  # too little is left to recognise the form
    assert [row.fields for row in again.rows] == [row.fields for row in fixed.data.rows]
    if again.forms[str(new)].columns == data.forms[str(path)].columns:
        assert fix(again, wanted).changes == ()


def test_remedies_leave_the_original_rows_alone(tmp_path):
    planted = made(classes=True, rows=40)
    PLANTS["label-variants"][0](planted, random.Random(2))
    data = planted.read(tmp_path)
    before = copy.deepcopy([row.fields for row in data.rows])
    fix(data, [*kinds().values()])
    assert [row.fields for row in data.rows] == before


def test_what_changed_is_listed_with_both_texts(tmp_path):
    planted = made(classes=True, rows=40)
    planted.rows["train"][4]["text"] = "Write to ann.lee@mailbox.org, or to the CafÃ©  "
    data = planted.read(tmp_path)
    wanted = [kinds()[name] for name in ("private", "garbled", "white-space")]
    changes = fix(data, wanted).changes
    assert [(change.line, change.remedy, change.action) for change in changes] == [
        (5, "garbled", "changed"),
        (5, "white-space", "changed"),
        (5, "private", "changed"),
    ]
    assert changes[1].before == {"text": "Write to ann.lee@mailbox.org, or to the Café  "}
    assert changes[1].after == {"text": "Write to ann.lee@mailbox.org, or to the Café"}
    # The list of changes must not hold what the remedy took out.
    assert changes[2].before == changes[2].after
    assert changes[2].why == "e-mail address"


def test_codes_of_another_split_get_the_names_that_their_words_have_in_train(tmp_path):
    planted = made(classes=True, rows=200)
    names = [row["label"] for row in planted.rows["test"]]
    PLANTS["label-sets"][0](planted, random.Random(2))
    data = planted.read(tmp_path)
    kind = kinds()["label-sets"]
    pytest.importorskip("sklearn")
    fixed = mended(data, [kind])
    assert [row.label for row in fixed.data.rows if row.split == "test"] == names
    planted.rows["test"][0]["label"] = names[0]  # so that its code cannot stand for it
    fixed = fix(planted.read(tmp_path), [kind])
    assert names[0] not in {change.after["label"] for change in fixed.changes}


def test_a_label_is_rewritten_where_another_is_very_likely_and_never_by_itself(tmp_path):
    planted = made(classes=True, rows=200)
    clean = [row["label"] for row in planted.rows["train"]]
    PLANTS["relabel"][0](planted, random.Random(2))
    data = planted.read(tmp_path)
    kind = kinds()["relabel"]
    if why := kind.why_unchecked(data):
        pytest.skip(why)
    assert not kind.safe
    assert "relabel" not in {one.kind for one in check(data).findings}
    changes = fix(data, [kind]).changes
    assert len(changes) >= 10
    for change in changes:
        assert (change.action, list(change.after)) == ("changed", ["label"])
        assert change.after["label"] == clean[change.line - 1] != change.before["label"]
        assert int(change.why.partition("(confidence ")[2].partition("%")[0]) >= 95


def test_label_noise_leaves_rows_to_relabel(tmp_path):
    planted = made(classes=True, rows=160)
    PLANTS["relabel"][0](planted, random.Random(2))
    data = planted.read(tmp_path)
    both = mended(data, [kinds()["label-noise"], kinds()["relabel"]]).changes
    alone = mended(data, [kinds()["relabel"]]).changes
    removed = {(one.path, one.line) for one in both if one.action == "removed"}
    changed = {(one.path, one.line) for one in both if one.action == "changed"}
    assert changed >= {(one.path, one.line) for one in alone}
    assert not removed & changed


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".tsv"])
def test_rows_are_written_so_that_they_are_read_again(tmp_path, suffix):
    rows = [{"text": f'a "quoted",\tand\ncut {n}', "label": "ab"[n % 2]} for n in range(30)]
    rows[3]["text"] = "half \ud83d of a pair" if "json" in suffix else "é"
    path = tmp_path / f"rows{suffix}"
    write_rows(path, rows)
    assert [row.fields for row in read_rows(DataSpec(path=str(path)), None).rows] == rows


def test_code_that_goes_on_where_its_prompt_ends_keeps_the_line_break(tmp_path):
    rows = [{"prompt": f"def f{n}():\n", "canonical_solution": "    return 1\n"} for n in range(30)]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert fix(read_rows(DataSpec(path=str(path)), "code"), [kinds()["white-space"]]).changes == ()
