"""Bad input: a clear error, exit code 2, no traceback, and nothing left behind."""

import gzip
import json

import pytest

BASE = ("--task", "classification", "--model", "packaged:minilm")


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def row(text, label):
    return {"text": text, "label": label}


MANY = [row(f"some words about thing {n}", "ab"[n % 2]) for n in range(40)]

# name of the case, file name, content, what the message must say
FILES = [
    ("empty file", "rows.jsonl", b"", ["empty"]),
    (
        "mostly broken JSON",
        "rows.jsonl",
        lines(*MANY[:3]) + b'{"text": \n' * 50 + lines(*MANY[3:]),
        ["rows.jsonl:4"],
    ),
    ("binary file", "rows.jsonl", b"\x7fELF\x00\x01\x02\xff\xfe" * 50, ["rows.jsonl"]),
    (
        "one class only",
        "rows.jsonl",
        lines(*[row(f"t {n}", "a") for n in range(20)]),
        ["two classes"],
    ),
    (
        "more classes than rows",
        "rows.jsonl",
        lines(*[row(f"t {n}", f"c{n}") for n in range(9)]),
        ["class"],
    ),
    ("a broken gz", "rows.jsonl.gz", gzip.compress(lines(*MANY))[:-20], ["rows.jsonl.gz"]),
    ("an unknown kind of file", "rows.docx", b"PK\x03\x04", ["rows.docx"]),
]


def test_a_few_bad_rows_are_listed_and_the_plan_goes_on(sweeper, here):
    rows = lines(*MANY[:3]) + b'{"text": \n' + lines(*MANY[3:], row("the only one", "rare"))
    (here / "rows.jsonl").write_bytes(rows)
    ran = sweeper("plan", *BASE, "--data", "rows.jsonl")
    assert ran.code == 0
    assert "1 row of train left out: broken JSON (line 4)" in ran.out
    assert "occur in one row only, which is left out: 'rare' (train, line 42)" in ran.out
    command = "sweeper data fix rows.jsonl --remedy label-variants,misspelt-labels,rare-labels"
    assert f"{command} -o NEW.jsonl" in " ".join(ran.out.split())


@pytest.mark.parametrize(
    ("name", "content", "says"), [f[1:] for f in FILES], ids=[f[0] for f in FILES]
)
@pytest.mark.parametrize("command", ["plan", "run"])
def test_bad_data_is_explained_with_its_place(sweeper, here, command, name, content, says):
    (here / name).write_bytes(content)
    ran = sweeper(command, *BASE, "--data", name)
    assert ran.code == 2
    assert ran.err.startswith("error[")
    for word in says:
        assert word in ran.err
    assert "Traceback" not in ran.err
    assert [path.name for path in here.iterdir()] == [name]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--data", "missing.jsonl"), "missing.jsonl"),
        (("--examples", "10", "--gpu-memory", "0"), "--gpu-memory"),
        (("--examples", "10", "--gpu-memory", "abc"), "--gpu-memory: gpu_memory_gib = 'abc'"),
        (("--examples", "10", "--gpu-memory", "1e400"), "--gpu-memory"),
        (("--examples", "10", "--gpus", "two"), "'--gpus': 'two' was given"),
        (("--examples", "10", "--trials", "0"), "--trials"),
        (("--examples", "10", "--seed", "-1"), "--seed"),
        (("--examples", "10", "--budget", "0h"), "--budget"),
        (("--examples", "10", "--task", "classify"), "classification"),
        (("--examples", "10", "--strategies", "lroa"), "'lora'"),
        (("--examples", "10", "--gpu", "RTX 4009"), "4090"),
        (("--examples", "10", "--model", "packaged:minilmm"), "packaged:minilm"),
        (
            ("--examples", "10", "--model", "nobody/no-such-model-anywhere"),
            "no-such-model-anywhere",
        ),
        (("--examples", "10", "--column", "text"), "--column"),
    ],
)
def test_bad_flags_are_named(sweeper, here, arguments, says):
    ran = sweeper("plan", *BASE, *arguments)
    assert ran.code == 2
    assert says in ran.err
    assert "Traceback" not in ran.err
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("model: ./gone\ndata: {examples: 100}", "sweep.yaml:2 models.0.id: gone: no such model"),
        ("model: 7B\ndata: rows.csv", "sweep.yaml:3 data.path: rows.csv: no such file"),
        (
            "data: {examples: 9}\nhardware: {gpu: RTX 9}",
            "sweep.yaml:3 hardware.gpu: the GPU 'RTX 9'",
        ),
        ("data: {examples: 9}\naim: {budget: 8 km}", "sweep.yaml:3 aim.budget: budget = '8 km'"),
        ("data: {examples: 9}\nrules:\n- ~/gone", "sweep.yaml:4 rules.0: ~/gone: this folder"),
        ("data: {examples: 9}\nrules: [., gone]", "sweep.yaml:3 rules.1: gone: this folder"),
    ],
)
def test_what_a_file_names_is_refused_with_its_line(sweeper, here, lines, says):
    (here / "sweep.yaml").write_text(f"task: classification\n{lines}\n")
    ran = sweeper("plan", "sweep.yaml", *(() if "model" in lines else ("--model", "7B")))
    assert (ran.code, says in ran.err) == (2, True), ran.err


@pytest.mark.parametrize(
    ("typed", "near"), [("paln", "plan"), ("rnu", "run"), ("reprot", "report")]
)
def test_an_unknown_command_gets_the_nearest_one(sweeper, typed, near):
    ran = sweeper(typed)
    assert ran.code == 2
    assert near in ran.err


def test_a_size_cannot_be_trained(sweeper, rows):
    ran = sweeper("run", "--task", "classification", "--model", "7B", "--data", str(rows))
    assert ran.code == 2
    assert "7B" in ran.err


def test_a_run_folder_that_cannot_be_written_is_an_error(sweeper, rows, here):
    (here / "runs").write_text("a file where the folder should be")
    ran = sweeper("run", *BASE, "--data", str(rows), "--name", "x")
    assert ran.code == 2
    assert "runs" in ran.err
    assert "Traceback" not in ran.err


def test_a_spec_with_five_mistakes_reports_all_five(sweeper, here):
    (here / "sweep.yaml").write_text(
        "task: classificaton\nmodel: packaged:minilm\ndata:\n  pth: x\nhardware:\n"
        "  gpu_memory_gib: -1\nsearch:\n  trials: 0\naim:\n  strategies: [lroa]\n"
    )
    ran = sweeper("run", "sweep.yaml")
    assert ran.code == 2
    for line in (1, 4, 6, 8, 10):
        assert f"sweep.yaml:{line} " in ran.err
    assert [path.name for path in here.iterdir()] == ["sweep.yaml"]


def test_a_test_score_that_no_run_can_reach_is_refused_before_training(sweeper, rows, here):
    ran = sweeper("run", "--task", "classification", "--model", "packaged:minilm", "--data",
                  "rows.jsonl", "--fail-under", "80")  # fmt: skip
    assert ran.code == 2
    assert "Write 0.8 for 80%." in ran.err
    assert not (here / "runs").exists()


def test_a_pruner_and_a_sampler_that_mean_nothing_are_refused_before_anything_runs(
    sweeper, rows, here
):
    (here / "sweep.yaml").write_text(
        "task: classification\nmodels: [{id: packaged:minilm}]\ndata: {path: rows.jsonl}\n"
        "search: {pruner: 'optuna:MedianPrunr', sampler: 'nowhere:Sampler'}\n"
    )
    ran = sweeper("run", "sweep.yaml", "--name", "mine")
    assert ran.code == 2
    assert "search.pruner: optuna has no pruner 'MedianPrunr'" in ran.err
    assert "Did you mean 'MedianPruner'?" in ran.err
    assert "search.sampler: cannot import 'nowhere'" in ran.err
    assert not (here / "runs").exists()


def test_two_models_are_not_given_by_flags(sweeper):
    asked = ("--model", "7B", "--model", "13B")
    ran = sweeper("plan", "--task", "classification", "--examples", "100", *asked)
    assert ran.code == 2
    for part in ("--model: 7B, 13B", "models: [7B, 13B]"):
        assert part in ran.err


def test_the_same_value_twice_is_one(sweeper, here):
    ran = sweeper(
        "plan", "--task", "classification", "--examples", "100", "--model", "7B", "--model", "7B"
    )
    assert ran.code == 0


def test_of_other_flags_the_last_counts(sweeper, here):
    words = "plan --task classification --examples 100 --model 7B --gpu A100-80GB --gpus 8 --gpus 2"
    ran = sweeper(*words.split())
    assert ran.code == 0
    assert "2 x A100 80GB" in ran.out


def test_a_run_without_a_model_ends_with_the_command_to_give(sweeper, rows):
    asked = ("--task", "classification", "--data", str(rows), "--strategies", "lora,full")
    ran = sweeper("run", *asked)
    assert ran.code == 2
    assert "no model is given" in ran.err
    last = ran.err.strip().splitlines()[-1].strip()
    assert last.startswith(f"sweeper run {' '.join(asked)} --model ")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--data", "nowhere.jsonl"), "nowhere.jsonl: no such file"),
        (("--data", "rows.jsonl", "--trials", "0"), "trials = 0"),
        (("--data", "rows.jsonl", "--gpu", "RTX 9999"), "'RTX 9999' is not in the table"),
        ((), "no data is given"),
    ],
)
def test_other_mistakes_are_told_where_the_model_is_missing_too(sweeper, rows, flags, said):
    ran = sweeper("run", "--task", "classification", *flags)
    assert ran.code == 2
    assert said in ran.err


def test_a_run_or_data_in_place_of_a_request_is_told_what_to_give(sweeper, here):
    (here / "runs" / "first").mkdir(parents=True)
    (here / "runs" / "first" / "sweep.yaml").write_text("task: code\n")
    (here / "rows.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
    for given in ("first", "runs/first"):
        assert "Give its sweep.yaml: runs/first/sweep.yaml" in sweeper("run", given).err
    assert "data with --data FILE" in sweeper("plan", "rows.jsonl").err
    assert "relative to the current folder" in sweeper("plan", "gone.yaml").err


def test_explain_knows_rules_and_strategies_by_near_names(sweeper, here):
    assert "no run and no rule 'lora-rnk' here" in (told := sweeper("explain", "lora-rnk").err)
    assert "Did you mean 'lora-rank'?" in told
    assert "no strategy 'loar'" in sweeper("explain", "x", "--strategy", "loar").err


def test_a_model_folder_without_a_config_says_so(sweeper, here):
    (here / "model").mkdir()
    ran = sweeper("plan", "--task", "classification", "--model", "./model", "--examples", "100")
    assert ran.code == 2
    assert "config.json" in ran.err


def test_a_run_needs_data(sweeper, here):
    ran = sweeper("run", *BASE, "--examples", "100")
    assert ran.code == 2
    assert "--data" in ran.err
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("command", ["report", "show"])
def test_a_run_that_is_not_there_is_explained(sweeper, command):
    ran = sweeper(command, "nothing")
    assert ran.code == 2
    assert "nothing" in ran.err


def test_a_path_that_is_meant_from_its_file_is_told_from_the_folder(sweeper, here):
    (here / "mine").mkdir()
    (here / "mine" / "rows.csv").write_text("text,label\n")
    text = "task: classification\nmodel: 7B\ndata: rows.csv\n"
    (here / "mine" / "sweep.yaml").write_text(text)
    ran = sweeper("plan", "mine/sweep.yaml")
    assert "mine/sweep.yaml:3 data.path: rows.csv: no such file" in ran.err
    assert "relative to the current folder: write mine/rows.csv." in ran.err
