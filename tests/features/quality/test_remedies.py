"""Each command that a check or a plan prints changes what it promises."""

import json
import random
import re
import shlex

import pytest

from sweeper.features.quality._kinds.base import kinds
from tests.features.quality.planting import CASES, PLANTS, made

PRINTED = re.compile(r"sweeper data fix .*? -o NEW\S*(?=,|\n|$)", re.M)


def planted_in(here, classes, *names, rows=160):
    """A folder with the faults, and what reads it so that they can be found."""
    planted = made(classes, rows=rows)
    for name in names:
        PLANTS[name][0](planted, random.Random(2))
    (here / "set").mkdir()
    planted.read(here / "set")
    flags = ["--max-length", "300"] if "truncation" in names else []
    return [*flags, *(["--against", "set-evaluation.jsonl"] if planted.against else [])]


def checked(sweeper, path, *flags):
    ran = sweeper("data", "check", path, "--json", *flags)
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def finding(found, kind):
    return next((one for one in found["findings"] if one["kind"] == kind), None)


def run(sweeper, command, new):
    """Run a printed command; what it changed."""
    ran = sweeper(*shlex.split(re.sub(r"\bNEW(?=\.|$)", new, command))[1:])
    assert ran.code == 0, ran.err


def changes_of(here, new):
    return [json.loads(line) for line in (here / f"{new}.changes.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("name", "classes"), [(name, classes) for name, classes in CASES if kinds()[name].has_remedy]
)
def test_the_command_of_each_kind_does_what_it_promises(sweeper, here, name, classes):
    kind = kinds()[name]
    flags = planted_in(here, classes, name)
    found = checked(sweeper, "set", *flags)
    shown = kind.instead_of or name  # whose remedy text names this kind
    if shown in found["unchecked"]:
        pytest.skip(found["unchecked"][shown])
    before = finding(found, shown)
    assert sum(map(len, before["lines"].values())) == before["count"]
    command = before["command"]
    if kind.instead_of:
        assert f"--remedy {name}" in before["remedy"]
        command = command.replace(f"--remedy {shown}", f"--remedy {name}")
    run(sweeper, command, "new")
    # Unreadable lines are left out in any case, since no file can hold them.
    changes = [one for one in changes_of(here, "new") if one["remedy"] in (name, "unreadable")]
    assert changes
    after = finding(checked(sweeper, "new", *flags), shown)
    if kind.uses_model:  # which finds others in what is left
        assert len(changes) <= before["mendable"]
        return
    assert len(changes) >= before["mendable"]
    assert (after["count"] if after else 0) <= before["count"] - before["mendable"]


def test_safe_remedies_are_offered_where_they_change_something_alone(sweeper, here):
    rows = [{"text": f"what is number {n} of it", "label": "ab"[n % 2]} for n in range(40)]
    rows[3]["text"] += " lost �"
    (here / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = checked(sweeper, "rows.jsonl")
    lost = finding(found, "garbled")
    assert (lost["count"], lost["mendable"], lost["command"], lost["safe"]) == (1, 0, "", False)
    assert found["mend_all"] == ""
    assert "--all-safe" not in sweeper("data", "check", "rows.jsonl").out


def test_bytes_that_are_not_utf8_are_never_replaced_by_a_remedy(sweeper, here):
    lines = [json.dumps({"text": f"number {n} of it", "label": "ab"[n % 2]}) for n in range(60)]
    data = "\n".join([*lines, lines[7]]).encode().replace(b"number 9 of", b"num\xe9ro 9 \x81 of")
    (here / "rows.jsonl").write_bytes(data)
    found = checked(sweeper, "rows.jsonl")
    assert finding(found, "garbled") is None
    (caution,) = found["cautions"]
    assert "(line 10)" in caution
    run(sweeper, found["mend_all"], "new")
    new = (here / "new.jsonl").read_text(encoding="utf-8")
    assert "numéro 9 \\u0081 of" in new or "numéro 9 \x81 of" in new or "numéro 9  of" in new
    assert "�" not in new


def test_labels_of_another_split_are_mapped_where_train_spells_some_differently(sweeper, here):
    planted = made(classes=True, rows=200)
    for row in planted.rows["train"][::5]:
        row["label"] = row["label"].upper()
    PLANTS["label-sets"][0](planted, random.Random(2))
    (here / "set").mkdir()
    planted.read(here / "set")
    pytest.importorskip("sklearn")
    before = finding(checked(sweeper, "set"), "label-sets")
    assert before["mendable"] == before["count"] == len(planted.rows["test"])
    run(sweeper, before["command"], "new")
    assert finding(checked(sweeper, "new"), "label-sets") is None


def test_no_command_is_printed_for_labels_that_stand_for_none_of_train(sweeper, here):
    planted = made(classes=True, rows=200)
    planted.rows["test"][0]["label"] = planted.rows["test"][1]["label"] = "an unheard one"
    (here / "set").mkdir()
    planted.read(here / "set")
    found = finding(checked(sweeper, "set"), "label-sets")
    assert (found["count"], found["mendable"], found["command"]) == (2, 0, "")


PLANS = {
    "classification": (True, ("label-variants", "private", "templated", "duplicates", "leakage")),
    "classes": (True, ("misspelt-labels", "rare-labels", "conflicts")),
    "instruction": (False, ("refusals", "boilerplate", "duplicates", "conflicts", "leakage")),
}


@pytest.mark.parametrize("case", PLANS)
def test_each_command_that_a_plan_prints_changes_rows(sweeper, here, case):
    classes, names = PLANS[case]
    planted_in(here, classes, *names)
    task = "classification" if classes else "instruction"
    ran = sweeper(
        "plan", "--task", task, "--model", "7B", "--gpu-memory", "24", "--data", "set", "--json"
    )
    assert ran.code == 0, ran.err
    warnings = json.loads(ran.out)["facts"]["data"]["warnings"]
    commands = [command for said in warnings for command in PRINTED.findall(said)]
    offered = {shlex.split(command)[5] for command in commands}
    assert len(offered) >= 2
    for number, command in enumerate(commands):
        run(sweeper, command, f"new{number}")
        asked = shlex.split(command)[5].split(",")
        assert {one["remedy"] for one in changes_of(here, f"new{number}")} & set(asked)


def test_no_remedy_is_offered_for_answers_that_are_all_references(sweeper, here):
    rng = random.Random(0)
    rows = [
        {"prompt": f"name[{n}], food[{n % 7}]", "completion": f"{rng.random()} is {word}"}
        for n in range(60)
        for word in ("good", "served", "offered")
    ]
    (here / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    ran = sweeper(
        *("plan", "--task", "instruction", "--model", "7B", "--data", "rows.jsonl", "--json")
    )
    assert "--remedy conflicts" not in " ".join(json.loads(ran.out)["facts"]["data"]["warnings"])
