"""``sweeper data``: from a file to its faults, and to a file without them."""

import json
import shlex

import pytest


@pytest.fixture
def spoilt(here):
    """A file with an empty row, a duplicate, a broken line, a mistyped label and an address."""
    rows = [
        {"text": f"what is the {name} of number {n} in the list", "label": label}
        for label, name in (("fruit", "taste"), ("metal", "weight"))
        for n in range(30)
    ]
    rows += [{"text": " ", "label": "fruit"}, dict(rows[3]), {"text": "one more", "label": "Fruit"}]
    rows += [{"text": "write to ann.lee@mailbox.org", "label": "metal"}]
    path = here / "rows.jsonl"
    path.write_text("\n".join([*map(json.dumps, rows), "{broken"]))
    return path


def test_every_fault_is_shown_with_its_lines_and_its_remedy(sweeper, spoilt):
    ran = sweeper("data", "check", "rows.jsonl")
    assert ran.code == 0
    assert "rows.jsonl: 65 rows (train 65), text-label, read for classification" in ran.out
    assert (
        "label-variants\n  Rows that spell a label differently from most rows: 1 (1.5%)" in ran.out
    )
    assert "    line 63 ('Fruit' is 'fruit'): one more" in ran.out
    assert "    line 61 (`text` is empty):" in ran.out
    assert "    line 65 (broken JSON):" in ran.out
    assert "    sweeper data fix rows.jsonl --remedy duplicates -o NEW" in ran.out
    assert "sweeper data fix rows.jsonl --all-safe -o NEW" in ran.out
    assert "Not checked: truncation; give --max-length" in ran.out
    # An address that is found is not printed.
    assert "(e-mail address): write to [E-MAIL ADDRESS]" in ran.out
    assert "ann.lee" not in ran.out


def test_personal_data_are_hidden_in_the_examples_of_every_fault(sweeper, here):
    rows = [
        {"text": f"{word} number {n}", "label": word} for word in ("old", "new") for n in range(9)
    ]
    rows.append({"text": "call +49 170 123 4567 today", "label": "+49 170 765 4321"})
    (here / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    said = sweeper("data", "check", "rows.jsonl").out
    assert "('[TELEPHONE NUMBER]' has 1 different input): call [TELEPHONE NUMBER] today" in said
    assert "170" not in said


def test_json_has_all_that_the_terminal_shows(sweeper, spoilt):
    found = json.loads(sweeper("data", "check", "rows.jsonl", "--json").out)
    (leak,) = [one for one in found["findings"] if one["kind"] == "private"]
    assert (leak["count"], leak["severity"], leak["safe"]) == (1, "serious", False)
    assert leak["share"] == pytest.approx(1 / 65)
    assert leak["examples"][0]["line"] == 64
    assert leak["consequence"]
    assert leak["command"] == "sweeper data fix rows.jsonl --remedy private -o NEW.jsonl"


def test_strict_ends_with_5_where_a_fault_is_serious(sweeper, spoilt):
    ran = sweeper("data", "check", "rows.jsonl", "--strict")
    assert ran.code == 5
    assert "2 serious kinds of fault: private, label-variants" in ran.err
    fixed = sweeper(
        "data", "fix", "rows.jsonl", "--all-safe", "--remedy", "private", "-o", "new.csv"
    )
    assert fixed.code == 0
    assert sweeper("data", "check", "new.csv", "--strict").code == 0


def test_a_new_file_and_a_list_of_changes_are_written_and_the_original_stays(sweeper, spoilt):
    before = spoilt.read_bytes()
    shown = sweeper("data", "fix", "rows.jsonl", "--all-safe")
    assert "duplicates: 1 row would be left out" in shown.out
    assert "rows.jsonl:65 (broken JSON): '{broken'" in shown.out
    assert "65 rows before, 62 after" in shown.out
    assert "Nothing was written. Give -o NEW" in shown.err
    assert [path.name for path in spoilt.parent.iterdir()] == ["rows.jsonl"]
    ran = sweeper("data", "fix", "rows.jsonl", "--all-safe", "-o", "new.jsonl")
    assert "label-variants: 1 row changed" in ran.out
    assert "(as line 4)" in ran.out
    assert spoilt.read_bytes() == before
    rows = [json.loads(line) for line in (spoilt.parent / "new.jsonl").read_text().splitlines()]
    assert len(rows) == 62
    assert {row["label"] for row in rows} == {"fruit", "metal"}
    listed = (spoilt.parent / "new.changes.jsonl").read_text().splitlines()
    changes = {(one["line"], one["remedy"], one["action"]) for one in map(json.loads, listed)}
    assert changes == {
        (61, "empty", "removed"),
        (62, "duplicates", "removed"),
        (63, "label-variants", "changed"),
        (65, "unreadable", "removed"),
    }
    assert sweeper("data", "fix", "rows.jsonl", "--all-safe", "-o", "new.jsonl").code == 2


def test_a_folder_becomes_a_folder(sweeper, spoilt):
    folder = spoilt.parent / "set"
    folder.mkdir()
    spoilt.rename(folder / "train.jsonl")
    lines = (folder / "train.jsonl").read_text().splitlines()
    (folder / "test.jsonl").write_text("\n".join(lines[:8]))
    ran = sweeper("data", "fix", "set", "--remedy", "leakage", "-o", "new", "--json")
    assert json.loads(ran.out)["remedies"] == [
        {"remedy": "unreadable", "action": "removed", "rows": 1},
        {"remedy": "leakage", "action": "removed", "rows": 9},
    ]
    assert len((spoilt.parent / "new" / "train.jsonl").read_text().splitlines()) == 55
    assert len((spoilt.parent / "new" / "test.jsonl").read_text().splitlines()) == 8
    assert (spoilt.parent / "new.changes.jsonl").is_file()


def test_an_evaluation_set_and_a_cap_are_looked_for_where_they_are_given(sweeper, spoilt):
    lines = spoilt.read_text().splitlines()
    (spoilt.parent / "held.jsonl").write_text("\n".join(lines[:3]))
    ran = sweeper(
        *("data", "check", "rows.jsonl", "--against", "held.jsonl", "--max-length", "8", "--json")
    )
    counts = {one["kind"]: one["count"] for one in json.loads(ran.out)["findings"]}
    # The duplicate of line 4 is not in the evaluation set, which holds lines 1 to 3.
    assert counts["evaluation-sets"] == 3
    assert counts["truncation"] >= 60


MISTAKES = {
    "no remedy": (["fix", "rows.jsonl"], "no remedy was named"),
    "an unknown remedy": (
        ["fix", "rows.jsonl", "--remedy", "duplicate"],
        "Did you mean 'duplicates'",
    ),
    "an unknown task": (["check", "rows.jsonl", "--task", "clasification"], "'classification'"),
    "no such file": (["check", "row.jsonl"], "Did you mean 'rows.jsonl'"),
    "a kind that is not written": (
        ["fix", "rows.jsonl", "--all-safe", "-o", "new.xlsx"],
        "not a kind of file that can be written",
    ),
    "no such folder": (["fix", "rows.jsonl", "--all-safe", "-o", "no/new.jsonl"], "no such folder"),
    "a remedy without its flag": (["fix", "rows.jsonl", "--remedy", "truncation"], "--max-length"),
    "a model without a cap": (["check", "rows.jsonl", "--model", "7B"], "needs --max-length"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_named_with_what_to_do(sweeper, spoilt, case):
    arguments, said = MISTAKES[case]
    ran = sweeper("data", *arguments)
    assert ran.code == 2
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_a_plan_mends_rows_as_they_are_read_and_says_so(sweeper, spoilt):
    before = spoilt.read_bytes()
    asked = ("plan", "--task", "classification", "--model", "7B", "--data", "rows.jsonl")
    plain = sweeper(*asked)
    assert "Rows changed" not in plain.out
    ran = sweeper(*asked, "--fix")
    assert ran.code == 0
    said = " ".join(ran.out.split())
    assert "Rows changed: unreadable: 1 row left out; label-variants: 1 row changed;" in said
    assert "duplicates: 1 row left out" in said
    assert spoilt.read_bytes() == before
    data = json.loads(sweeper(*asked, "--fix", "--json").out)["facts"]["data"]
    assert {"remedy": "empty", "action": "removed", "rows": 1} in data["changes"]


def test_a_page_is_written_beside_what_is_printed(sweeper, spoilt):
    ran = sweeper("data", "check", "rows.jsonl", "--html", "check.html")
    assert "serious: label-variants" in ran.out
    assert "label-variants" in (spoilt.parent / "check.html").read_text()
    missing = sweeper("data", "check", "rows.jsonl", "--html", ".")
    assert missing.code == 2
    assert missing.err.startswith("error[run-folder]: .: ")


def test_a_command_that_fixes_reads_the_rows_as_they_were_checked(here, sweeper):
    rows = [
        {"question here": f"How do I open box {n}?", "said": f"with key {n}"} for n in range(40)
    ]
    name = "my rows.jsonl"
    (here / name).write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0]]))
    (here / "held out.jsonl").write_text(json.dumps({"question": "How do I open box 3?"}))
    flags = ["--column", "prompt=question here", "--column", "completion=said"]
    flags += ["--against", "held out.jsonl"]
    ran = sweeper("data", "check", name, "--json", *flags)
    assert ran.code == 0, ran.err
    checked = json.loads(ran.out)
    commands = {one["kind"]: one["command"] for one in checked["findings"]}
    commands["safe"] = checked["mend_all"]
    assert commands.keys() == {"duplicates", "evaluation-sets", "safe"}
    for kind, command in commands.items():
        fixed = sweeper(*shlex.split(command.replace("NEW", kind))[1:])
        assert fixed.code == 0, fixed.err
    assert len((here / "evaluation-sets.jsonl").read_text().splitlines()) == 40


def test_the_example_marks_only_what_is_learnt(sweeper, here):
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"{n}?"},
                {"role": "assistant", "content": "Perhaps.", "weight": 0},
                {"role": "user", "content": "Sure?"},
                {"role": "assistant", "content": "Yes."},
            ]
        }
        for n in range(60)
    ]
    (here / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    shown = sweeper("data", "check", "rows.jsonl").out
    assert "«Yes.»" in shown
    assert "«Perhaps.»" not in shown


def test_a_row_that_openai_refuses_has_its_line(sweeper, here):
    turns = [{"role": role, "content": role} for role in ("user", "assistant", "user")]
    rows = [{"messages": [{"role": "system", "content": f"{n}"}, *turns[:2]]} for n in range(60)]
    rows[5]["messages"].append(turns[2])
    rows[9]["messages"][2] = {**turns[1], "weight": 3}
    (here / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = sweeper("data", "check", "rows.jsonl", "--json")
    faults = {one["kind"]: one["lines"] for one in json.loads(done.out)["findings"]}
    assert {
        kind: next(iter(lines.values())) for kind, lines in faults.items() if kind != "duplicates"
    } == {
        "last-turn": [6],
        "form": [10],
    }
