"""From a path to a data set: forms, splits, counts, and every way in which data can be useless."""

import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeper.data.examples import SPLITS, Dataset, Message
from sweeper.data.load import load, load_corpus
from sweeper.data.reading.read import SUFFIXES
from sweeper.data.rows import read_rows
from sweeper.errors import DataError, NotInstalled
from sweeper.features.quality._check import quick_faults
from sweeper.spec import TASKS, DataSpec


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def questions(count, classes=2):
    return [{"text": f"question {n}", "label": f"class {n % classes}"} for n in range(count)]


def loaded(path, task="classification", **spec) -> Dataset:
    return load(DataSpec(path=str(path), **spec), task)


def everything(dataset):
    return [example for split in SPLITS for example in dataset.splits[split]]


def test_a_classification_file_becomes_three_splits(tmp_path):
    dataset = loaded(write(tmp_path / "rows.jsonl", questions(200)))
    assert {split: len(rows) for split, rows in dataset.splits.items()} == {
        "train": 140,
        "validation": 30,
        "test": 30,
    }
    assert dataset.labels == ("class 0", "class 1")
    assert dataset.origins == dict.fromkeys(SPLITS, "hash")
    assert dataset.rows == 200
    assert not dataset.warnings[2:]
    assert "validation and test taken out of train" in dataset.evidence[-1]


def test_the_order_of_the_file_changes_nothing(tmp_path):
    rows = questions(100, 4)
    first = loaded(write(tmp_path / "rows.jsonl", rows))
    random.Random(0).shuffle(rows)
    second = loaded(write(tmp_path / "shuffled.jsonl", rows))
    assert first.fingerprint == second.fingerprint
    for split in SPLITS:
        assert [e.key for e in first.splits[split]] == [e.key for e in second.splits[split]]


def test_the_fingerprint_follows_content(tmp_path):
    rows = questions(100)
    before = loaded(write(tmp_path / "rows.jsonl", rows)).fingerprint
    rows[0]["label"] = "class 1"
    assert loaded(write(tmp_path / "rows.jsonl", rows)).fingerprint != before


def test_official_splits_are_kept_and_leaks_counted(tmp_path):
    rows = questions(90)
    write(tmp_path / "train.jsonl", rows[:60])
    write(tmp_path / "dev.jsonl", rows[60:75] + rows[:2])
    write(tmp_path / "test.jsonl", rows[75:])
    write(tmp_path / "prompt.jsonl", [{"text": "not a split"}])
    dataset = loaded(tmp_path)
    assert [len(dataset.splits[split]) for split in SPLITS] == [60, 17, 15]
    assert set(dataset.origins.values()) == {"official"}
    assert dataset.counts["leakage"] == 2
    assert any("scores will look better" in warning for warning in dataset.warnings)
    assert "official splits: train.jsonl, dev.jsonl, test.jsonl" in dataset.evidence


def test_only_missing_splits_are_carved_out_of_train(tmp_path):
    rows = questions(120)
    train, test = write(tmp_path / "a.jsonl", rows[:100]), write(tmp_path / "b.jsonl", rows[100:])
    dataset = loaded(train, test=str(test), validation_fraction=0.2)
    assert [len(dataset.splits[split]) for split in SPLITS] == [80, 20, 20]
    assert dataset.origins == {"train": "hash", "validation": "hash", "test": "official"}


def test_shards_of_a_split_are_read_as_one(tmp_path):
    rows = questions(60)
    for number in range(2):
        write(tmp_path / f"train-0000{number}-of-00002.jsonl", rows[number::2])
    assert loaded(tmp_path).rows == 60


def test_a_split_may_have_other_columns_of_the_same_form(tmp_path):
    train = write(tmp_path / "train.jsonl", [{"mr": f"m{n}", "ref": f"r{n}"} for n in range(40)])
    write(tmp_path / "test.jsonl", [{"mr": f"t{n}", "refs": [f"one {n}", "two"]} for n in range(9)])
    other = write(tmp_path / "humans.jsonl", [{"prompt": f"p{n}", "code": "c"} for n in range(9)])
    columns = {"prompt": "mr", "completion": "ref"}
    dataset = loaded(tmp_path, "instruction", columns=columns)
    first = dataset.splits["test"][0]
    assert first.references == (first.answer, "two")
    assert "test has other columns: `mr`, `refs`" in dataset.evidence
    dataset = loaded(train, "instruction", columns=columns, test=str(other))
    assert {example.answer for example in dataset.splits["test"]} == {"c"}


def test_forms_become_conversations_that_end_with_the_answer(tmp_path):
    turns = [
        {"from": "system", "value": "be brief"},
        {"from": "human", "value": "q"},
        {"from": "gpt", "value": "a"},
        {"from": "human", "value": "unanswered"},
    ]
    user, answer, system = Message("user", "q"), Message("assistant", "a"), Message("system", "s")
    cases = [
        ({"instruction": "q", "output": "a"}, (user, answer)),
        ({"instruction": "q", "input": " ", "output": "a", "system": "s"}, (system, user, answer)),
        ({"instruction": "q", "input": "i", "output": "a"}, (Message("user", "q\ni"), answer)),
        (
            {"instruction": "q", "output": "a", "history": [["old", "said"]]},
            (Message("user", "old"), Message("assistant", "said"), user, answer),
        ),
        ({"prompt": "q", "completion": "a"}, (user, answer)),
        ({"prompt": [turns[1]], "completion": "a"}, (user, answer)),
        ({"conversations": turns}, (Message("system", "be brief"), user, answer)),
        ({"messages": json.dumps(turns[1:3]), "system": "s"}, (system, user, answer)),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}, turns[2]]},
            (user, answer),
        ),
    ]
    for row, expected in cases:
        path = write(tmp_path / "rows.jsonl", [row | {"id": n} for n in range(5)])
        # Five rows ask the same, so that there is nothing to split: read them as a corpus.
        assert load_corpus(str(path), DataSpec())[0].messages == expected, row


def test_tests_of_code_run_after_the_answer(tmp_path):
    mbpp = {"text": "t", "code": "c", "test_list": ["assert f()"], "test_setup_code": "import m"}
    human = {
        "prompt": "def f():\n",
        "canonical_solution": "    return 1\n",
        "test": "def check(f):\n    assert f() == 1",
        "entry_point": "f",
    }
    path = write(tmp_path / "rows.jsonl", [mbpp])
    assert load_corpus(str(path), DataSpec())[0].tests == ("import m\nassert f()",)
    path = write(tmp_path / "rows.jsonl", [human])
    (example,) = load_corpus(str(path), DataSpec())
    assert example.answer == "def f():\n    return 1\n"
    exec(f"{example.answer}\n{example.tests[0]}", {})


def test_duplicates_conflicts_and_empties_are_counted_and_kept_together(tmp_path):
    rows = questions(100)
    rows += [
        rows[0],
        {"text": "QUESTION  0", "label": "class 1"},
        {"text": " ", "label": "class 1"},
    ]
    rows += [{"text": "no label", "label": None}]
    dataset = loaded(write(tmp_path / "rows.jsonl", rows))
    assert dataset.counts == {"duplicates": 1, "conflicts": 3, "empty": 2}
    assert dataset.rows == 102
    places = {
        split
        for split in SPLITS
        for example in dataset.splits[split]
        if example.text.lower().split() == ["question", "0"]
    }
    assert len(places) == 1
    said = " ".join(dataset.warnings)
    assert "2 rows of train left out: no text or no answer (line 103, 104)" in said
    assert "1 row repeat another row exactly" in said


def test_rows_of_another_form_are_left_out_and_listed_unless_most_are(tmp_path):
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    rows = [{"messages": [{"role": "user", "content": f"{n}"}, turns[1]]} for n in range(60)]
    rows[10]["messages"] = [*turns, turns[1]]
    rows[11]["messages"] = [turns[0], {"role": "tool", "content": "x"}, turns[1]]
    dataset = loaded(write(tmp_path / "rows.jsonl", rows), "instruction")
    assert (dataset.rows, dataset.counts["form"]) == (58, 2)
    said = " ".join(dataset.warnings)
    assert "a turn of assistant where one of user should come (line 11)" in said
    assert "a turn of tool where one of assistant should come (line 12)" in said
    for number in range(12, 42):
        rows[number]["messages"] = [*turns, turns[1]]
    with pytest.raises(DataError, check=lambda error: error.code == "mixed-forms") as error:
        loaded(write(tmp_path / "rows.jsonl", rows), "instruction")
    assert "31 rows, first line 11" in str(error.value)


def test_numbers_and_truth_values_can_be_labels(tmp_path):
    rows = [{"text": f"t {n}", "label": n % 2 == 0} for n in range(40)]
    assert loaded(write(tmp_path / "rows.jsonl", rows)).labels == ("false", "true")
    rows = [{"text": f"t {n}", "label": float(n % 3)} for n in range(40)]
    dataset = loaded(write(tmp_path / "rows.jsonl", rows))
    assert dataset.labels == ("0", "1", "2")
    assert any("label_text could give their names" in warning for warning in dataset.warnings)
    rows = [
        {"text": f"t {n}", "label": n % 2, "label_text": ["no", "yes"][n % 2]} for n in range(9)
    ]
    assert loaded(write(tmp_path / "rows.jsonl", rows)).labels == ("no", "yes")


def test_garbled_text_is_counted_and_half_characters_are_replaced(tmp_path):
    rows = [*questions(40), {"text": "cafÃ©", "label": "class 0"}]
    rows += [{"text": "half \ud83d", "label": "class 1"}]
    dataset = loaded(write(tmp_path / "rows.jsonl", rows))
    assert dataset.counts["garbled"] == 2
    assert any(example.text == "half �" for example in everything(dataset))


def test_max_rows_keeps_every_class_or_says_that_it_cannot(tmp_path):
    path = write(tmp_path / "rows.jsonl", questions(400, 20))
    dataset = loaded(path, max_rows=100)
    assert (dataset.rows, len(dataset.labels)) == (100, 20)
    with pytest.raises(DataError, match=r"10.* train "):
        loaded(path, max_rows=10)


def test_a_warning_names_uneven_classes_and_labels_spelt_alike(tmp_path):
    rows = [{"text": f"t {n}", "label": "Often" if n else "rare"} for n in range(300)]
    rows += [{"text": f"u {n}", "label": ("rare", "often")[n % 2]} for n in range(12)]
    dataset = loaded(write(tmp_path / "rows.jsonl", rows))
    assert "uneven classes: " in " ".join(dataset.warnings)
    faults = quick_faults(dataset, DataSpec(path=dataset.path), "classification")
    said = " ".join(fault.sentence for fault in faults)
    assert "6 rows spell a label differently from most rows" in said
    assert "--remedy label-variants --task classification -o NEW.jsonl, or give --fix" in said


def test_a_template_inside_a_turn_is_warned_of(tmp_path):
    rows = [{"prompt": f"[INST] {n} [/INST]", "completion": "a"} for n in range(40)]
    dataset = loaded(write(tmp_path / "rows.jsonl", rows), "instruction")
    faults = quick_faults(dataset, DataSpec(path=dataset.path), "instruction")
    said = " ".join(fault.sentence for fault in faults)
    assert "40 rows have chat markers such as [INST] inside their texts" in said


def test_pretemplated_text_is_marked(tmp_path):
    rows = [{"text": f"<|user|>{n}<|assistant|>a"} for n in range(40)]
    dataset = loaded(write(tmp_path / "rows.jsonl", rows), "instruction")
    assert dataset.format == "text"
    assert dataset.templated
    assert all(example.templated for example in everything(dataset))


def test_plain_text_is_the_data_of_a_domain_task(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("\n\n".join(f"paragraph {n}" for n in range(20)))
    dataset = load(DataSpec(path=str(path)), "domain")
    assert (dataset.format, dataset.rows, dataset.labels) == ("text", 20, ())
    assert dataset.splits["train"][0].answer == ""


USELESS = {
    "one class only": (
        [{"text": f"t {n}", "label": "x"} for n in range(20)],
        "single-class",
    ),
    "all labels but one seen once": (
        [
            *[{"text": f"t {n}", "label": "x"} for n in range(20)],
            {"text": "odd", "label": "lonely"},
        ],
        "single-class",
    ),
    "more classes than half the rows": (
        [{"text": f"t {n}", "label": f"l {n}"} for n in range(20)],
        "too-many-classes",
    ),
    "too few inputs": (
        [{"text": "same", "label": "ab"[n % 2]} for n in range(20)],
        "empty-split",
    ),
    "nothing but empties": (
        [{"text": "", "label": "a"} for _ in range(20)],
        "empty-split",
    ),
}


def test_a_link_to_nothing_is_named_as_such(tmp_path):
    (tmp_path / "rows.jsonl").symlink_to("nowhere.jsonl")
    with pytest.raises(DataError):
        loaded(tmp_path / "rows.jsonl")


@pytest.mark.parametrize("case", USELESS)
def test_useless_data_is_refused_with_its_code(tmp_path, case):
    rows, code = USELESS[case]
    with pytest.raises(DataError, check=lambda error: error.code == code):
        loaded(write(tmp_path / "rows.jsonl", rows))


def test_a_train_split_of_one_class_is_refused_even_if_validation_has_two(tmp_path):
    write(tmp_path / "train.jsonl", [{"text": f"t {n}", "label": "x"} for n in range(40)])
    rows = [{"text": f"u {n}", "label": "xxy"[n % 3]} for n in range(30)]
    write(tmp_path / "validation.jsonl", rows)
    with pytest.raises(DataError, check=lambda error: error.code == "single-class"):
        loaded(tmp_path)


def test_a_label_of_one_row_is_left_out_with_its_line(tmp_path):
    rows = [*questions(40), {"text": "odd", "label": "lonely"}]
    dataset = loaded(write(tmp_path / "rows.jsonl", rows))
    assert (dataset.rows, dataset.labels) == (40, ("class 0", "class 1"))
    said = " ".join(dataset.warnings)
    assert "only 6 rows in validation: " in said
    assert "in test: " not in said, "the plan says it with the smallest difference"
    assert "occur in one row only, which is left out: 'lonely' (train, line 41)" in said
    assert "--remedy label-variants,misspelt-labels,rare-labels -o NEW.jsonl" in said


def test_commands_of_warnings_name_the_columns_that_the_user_named(tmp_path):
    rows = [*questions(40), {"text": "odd", "label": "lonely"}]
    rows = [{"Customer wrote:": row["text"], "Queue (final)": row["label"]} for row in rows]
    columns = {"text": "Customer wrote:", "label": "Queue (final)"}
    dataset = loaded(write(tmp_path / "rows.jsonl", [*rows, rows[0]]), columns=columns)
    commands = [said for said in dataset.warnings if "sweeper data fix" in said]
    assert len(commands) == 2, "of a repeated row, and of a label that only one row has"
    named = "--column 'text=Customer wrote:' --column 'label=Queue (final)'"
    for command in commands:
        assert f"{named} -o NEW.jsonl" in command


def test_validation_and_test_take_the_spelling_of_train(tmp_path):
    write(
        tmp_path / "train.jsonl",
        [{"text": f"t {n}", "label": ["Yes", "No"][n % 2]} for n in range(40)],
    )
    rows = [{"text": f"u {n}", "label": ["yes", "NO"][n % 2]} for n in range(20)]
    write(
        tmp_path / "test.jsonl", [*rows, *[{"text": f"m {n}", "label": "maybe"} for n in range(2)]]
    )
    dataset = loaded(tmp_path)
    assert {example.label for example in dataset.splits["test"]} == {"Yes", "No"}
    said = " ".join(dataset.warnings)
    assert "spelt differently from train get its spelling (20 rows)" in said
    assert "'NO' is 'No', 'yes' is 'Yes'" in said
    assert "2 of 22 rows of test left out, with labels that train does not have" in said
    assert "'maybe' (test, line 21)" in said


def test_a_file_of_several_formats_is_read_row_by_row(tmp_path):
    rows = [{"prompt": f"p {n}", "completion": "c"} for n in range(30)]
    rows += [{"instruction": f"i {n}", "output": "o"} for n in range(20)]
    rows += [
        {"messages": [{"role": "user", "content": f"m {n}"}, {"role": "assistant", "content": "a"}]}
        for n in range(10)
    ]
    dataset = loaded(write(tmp_path / "rows.jsonl", rows), "instruction")
    assert {example.answer for example in everything(dataset)} == {"c", "o", "a"}
    assert (dataset.rows, dataset.counts["empty"], dataset.counts["form"]) == (60, 0, 0)
    said = " ".join(dataset.warnings)
    assert (
        "20 of 60 rows of train have another format, instruction (`instruction`, `output`)" in said
    )
    assert "messages (`messages`), and are read as such (line 51, 52, 53 and 7 more)" in said


def test_two_spellings_of_one_format_are_both_read(tmp_path):
    rows = []
    for n in range(20):
        turns = [("user", f"m {n}"), ("assistant", f"a {n}")]
        rows.append({"messages": [{"role": role, "content": text} for role, text in turns]})
        turns = [("human", f"s {n}"), ("gpt", f"b {n}")]
        rows.append({"conversations": [{"from": role, "value": text} for role, text in turns]})
        rows.append({"prompt": f"p {n}", "completion": f"c {n}"})
        rows.append({"instruction": f"i {n}", "output": f"o {n}"})
    path = write(tmp_path / "rows.jsonl", rows)
    dataset = loaded(path, "instruction")
    assert {example.answer[0] for example in everything(dataset)} == set("abco")
    assert (dataset.rows, dataset.counts["form"]) == (80, 0)
    cautions = " ".join(read_rows(DataSpec(path=str(path)), None).cautions)
    assert "20 of 80 rows of train have another format, prompt-completion" in cautions


PROGRAM = "def f(n):\n    return n + 1"
PROGRAMS = [
    ({"prompt": "add one", "code": PROGRAM, "category": "easy", "text": "t"}, "code"),
    (
        {"text": "add one to it", "code": PROGRAM, "label": "easy", "test_list": ["assert f(1)"]},
        "code",
    ),
    ({"prompt": "def f(n):", "canonical_solution": "    return n", "test": "assert f(1)"}, "code"),
    ({"question": "add one", "answer": "f", "tests": ["assert f(1) == 2"], "intent": "a"}, "code"),
    ({"text": "where is it", "code": "A7", "label": "card"}, "classification"),
    ({"question": "what is it", "answer": "a", "test": "blood"}, "instruction"),
]


@pytest.mark.parametrize(("row", "task"), PROGRAMS)
def test_rows_of_programs_are_recognised_without_a_task(tmp_path, row, task):
    path = write(tmp_path / "rows.jsonl", [row] * 40)
    assert read_rows(DataSpec(path=str(path)), None).task == task


@pytest.mark.parametrize(
    ("cells", "told"), [(("train", "Test"), True), (("train", "web"), False), (("train",), False)]
)
def test_a_column_that_names_splits_is_reported_as_not_read(tmp_path, cells, told):
    rows = [row | {"fold": cells[n % len(cells)]} for n, row in enumerate(questions(40))]
    said = " ".join(loaded(write(tmp_path / "rows.jsonl", rows)).warnings)
    assert ("`fold` seems to name the split of each row. It is not read" in said) is told


def test_a_prompt_is_built_from_several_columns(tmp_path):
    rows = [{"code": f"f({n}) returns", "input": f"{n}", "output": "x"} for n in range(40)]
    rows[6]["input"] = None
    path = write(tmp_path / "rows.jsonl", rows)
    assert "columns with text are not used: `code`" not in " ".join(loaded(path, "code").warnings)
    for row in rows:
        row["code"] += " a number"
    path = write(tmp_path / "rows.jsonl", rows)
    said = " ".join(loaded(path, "code").warnings)
    assert "columns with text are not used: `code`. If an answer depends on one, " in said
    assert "--column 'prompt={code} {input}'" in said
    dataset = loaded(path, "code", columns={"prompt": "{code}\n\nInput: {input}"})
    asked = {example.messages[0].content for example in everything(dataset)}
    assert {"f(3) returns a number\n\nInput: 3", "f(6) returns a number\n\nInput:"} <= asked
    said = " ".join(dataset.warnings)
    assert "`input`, which a template uses, is empty in 1 of 40 rows (line 7)" in said
    with pytest.raises(DataError, match="'cod'"):
        loaded(path, "code", columns={"prompt": "{cod} {input}"})


def test_a_template_that_is_proposed_keeps_the_columns_that_are_read(tmp_path):
    rows = [
        {"instruction": f"say {n}", "input": f"{n}", "notes": "a b c d e", "output": "x"}
        for n in range(40)
    ]
    said = " ".join(loaded(write(tmp_path / "rows.jsonl", rows), "instruction").warnings)
    assert "--column 'prompt={instruction} {input} {notes}'" in said


def test_columns_without_usual_names_are_told_by_their_values(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("".join(f"Where is card {n} now?,{'ab'[n % 2]}\n" for n in range(40)))
    assert loaded(path).columns == {"text": "column_1", "label": "column_2"}
    assert "this is a guess from their values" in " ".join(loaded(path).evidence)
    path.write_text("en,de\n" + "".join(f"house {n},Haus {n}\n" for n in range(40)))
    assert loaded(path, "instruction").columns == {"prompt": "en", "completion": "de"}


def test_most_labels_that_train_does_not_have_are_refused(tmp_path):
    write(tmp_path / "train.jsonl", questions(40))
    write(tmp_path / "test.jsonl", [{"text": f"n {n}", "label": "new"} for n in range(4)])
    with pytest.raises(DataError, check=lambda error: error.code == "unknown-labels") as error:
        loaded(tmp_path)
    assert "Train has 'class 0', 'class 1'" in str(error.value)


@pytest.mark.parametrize("names", [(), ("README.md", "LICENSE.txt"), ("test.jsonl", "extra.csv")])
def test_a_folder_without_data_for_training_is_refused(tmp_path, names):
    for name in names:
        (tmp_path / name).write_text("x")
    with pytest.raises(DataError, check=lambda error: error.code == "no-training-data"):
        loaded(tmp_path)


def test_paths_that_do_not_exist_are_refused_with_a_near_match(tmp_path):
    write(tmp_path / "question.jsonl", questions(9))
    with pytest.raises(DataError, match=r"'question\.jsonl'"):
        loaded(tmp_path / "questions.jsonl")
    with pytest.raises(DataError):
        loaded(tmp_path / "question.jsonl", test=str(tmp_path / "nowhere" / "x.jsonl"))
    with pytest.raises(DataError):
        load(DataSpec(), "classification")


def test_shares_that_leave_nothing_to_train_on_are_refused(tmp_path):
    path = write(tmp_path / "rows.jsonl", questions(40))
    with pytest.raises(DataError, match="120%"):
        loaded(path, validation_fraction=0.6, test_fraction=0.6)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=9,
)
COLUMNS = st.sampled_from(
    ["text", "label", "prompt", "completion", "messages", "instruction", "output", "role", "from"]
)
FUZZ = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def whole_or_refused(path, task) -> bool:
    """Whether a file gives all splits, if it is not refused."""
    try:
        dataset = loaded(path, task)
    except (DataError, NotInstalled):
        return True
    return all(dataset.splits[split] for split in SPLITS)


@FUZZ
@given(st.binary(max_size=300), st.sampled_from([*SUFFIXES, ".jsonl.gz"]), st.sampled_from(TASKS))
def test_any_bytes_load_or_are_refused(tmp_path, data, suffix, task):
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(data)
    assert whole_or_refused(path, task)


@FUZZ
@given(st.text(max_size=300), st.sampled_from([".csv", ".tsv", ".txt", ".json"]))
def test_any_text_loads_or_is_refused(tmp_path, text, suffix):
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    assert whole_or_refused(path, "classification")


@FUZZ
@given(st.lists(st.dictionaries(COLUMNS, JSON, max_size=4), max_size=12), st.sampled_from(TASKS))
def test_any_json_rows_load_or_are_refused(tmp_path, rows, task):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows))
    assert whole_or_refused(path, task)


@pytest.mark.parametrize(
    ("folder", "task", "sizes", "spec"),
    [
        ("banking77", "classification", (9000, 1003, 3080), {}),
        ("snips7", "classification", (4900, 490, 700), {}),
        ("self_instruct_seed", "instruction", (135, 15, 25), {}),
        ("mbpp", "code", (374, 90, 500), {}),
        ("gsm8k", "instruction", (3000, 300, 1319), {}),
        ("ntrex_en_de", "instruction", (988, 114, 263), {}),
        (
            "e2e_nlg",
            "instruction",
            (4162, 60, 630),
            {"columns": {"prompt": "mr", "completion": "ref"}},
        ),
        (
            "pubmedqa",
            "classification",
            (449, 51, 500),
            {"columns": {"text": "question", "label": "answer"}},
        ),
    ],
)
def test_real_data_sets_load_as_they_are(shared_data, folder, task, sizes, spec):
    dataset = loaded(shared_data / folder, task, **spec)
    assert tuple(len(dataset.splits[split]) for split in SPLITS) == sizes
    assert dataset.counts["form"] == dataset.counts["empty"] == 0


def _sizes(dataset):
    return [len(dataset.splits[split]) for split in SPLITS]


def test_validation_and_test_take_so_many_rows_at_most(tmp_path):
    path = write(tmp_path / "rows.jsonl", questions(400))
    assert _sizes(loaded(path, max_held_out_rows=20)) == [360, 20, 20]
    assert _sizes(loaded(path, max_held_out_rows=None)) == [280, 60, 60]


def test_of_a_subset_validation_and_test_take_as_much_as_of_a_small_data_set(tmp_path):
    path = write(tmp_path / "rows.jsonl", questions(400))
    assert _sizes(loaded(path, max_held_out_rows=20, max_rows=100)) == [70, 15, 15]
