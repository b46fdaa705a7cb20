"""Task files become items: the same ones every time, and every mistake is named before a model."""

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytest.importorskip("lm_eval", reason="pip install 'finetune-sweeper[suite]'")

from lm_eval.models.dummy import DummyLM

from sweeper.errors import UsageError
from sweeper.features.suite import _tasks as tasks
from sweeper.features.suite._tasks import SuiteTask, load_suite, score

CHOICE = {
    "output_type": "multiple_choice",
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_choice": "choices",
    "doc_to_target": "answer",
}
TEXT = {"output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{text}}"}
OURS = "!function sweeper.metrics.programs.pass_at_1"


@pytest.fixture
def write(tmp_path):
    """``write("task.yaml", ..., rows=[...])``: a task file over local rows."""

    def put(name="task.yaml", rows=None, data="rows.jsonl", **config) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        if rows is not None:
            (path.parent / data).write_text("\n".join(json.dumps(row) for row in rows))
            config = {
                "task": path.stem,
                "dataset_path": "json",
                "dataset_kwargs": {"data_files": {"test": data}},
                "test_split": "test",
                **config,
            }
        # A YAML tag cannot be dumped from plain data.
        path.write_text(re.sub("'(!function .*)'", r"\1", yaml.safe_dump(config)))
        return path

    return put


@pytest.fixture
def load(tmp_path_factory):
    def run(path: Path, *, run_generated_code=False) -> list[SuiteTask]:
        cache = tmp_path_factory.mktemp("data")
        return load_suite(path, run_generated_code=run_generated_code, cache=cache)

    return run


@pytest.fixture
def refused(load):
    """The text of the error that loading a suite ends with."""

    def run(path: Path, **options) -> str:
        with pytest.raises(UsageError) as caught:
            load(path, **options)
        return str(caught.value)

    return run


def keys(task: SuiteTask) -> set[str]:
    (one,) = task.tasks.values()
    return {json.dumps(one.eval_docs[row]) for row in task.rows[task.name]}


def test_a_limit_takes_the_same_items_wherever_they_stand(write, load):
    rows = [{"text": f"text {n}"} for n in range(50)]
    limit = {"metadata": {"limit": 10}}
    (first,) = load(write(rows=rows, **TEXT, **limit))
    (second,) = load(write(rows=rows[::-1], **TEXT, **limit))
    assert keys(first) == keys(second)
    assert (first.items, first.total) == (10, 50)
    assert list(first.rows["task"]) == sorted(first.rows["task"])


def test_the_same_row_twice_counts_once(write, load):
    (task,) = load(write(rows=[{"text": "a"}, {"text": "a"}, {"text": "b"}], **TEXT))
    assert (task.items, task.total) == (2, 2)


def test_a_digest_follows_what_is_asked_and_not_where_it_lies(write, load):
    rows = [{"text": "a b"}, {"text": "c d"}]

    def digest(rows=rows, name="task.yaml", **config):
        return load(write(name, rows, **{"task": "task", **TEXT, **config}))[0].digest

    same = digest()
    assert digest(name="elsewhere/other.yaml", data="moved.jsonl") == same
    for changed in (
        {"rows": [*rows, {"text": "e"}]},
        {"metadata": {"limit": 1}},
        {"doc_to_target": "{{text}}."},
        {"metadata": {"apply_chat_template": True}},
        {"metric_list": [{"metric": "bits_per_byte"}]},
    ):
        assert digest(**changed) != same, changed


def test_solved_examples_come_from_the_split_that_the_task_names(write, load, tmp_path):
    rows = [{"question": f"q{n}", "choices": ["a", "b"], "answer": 1} for n in range(4)]
    (tmp_path / "dev.jsonl").write_text(json.dumps({**rows[0], "question": "solved"}))
    files = {"data_files": {"test": "rows.jsonl", "dev": "dev.jsonl"}}
    shots = {"fewshot_split": "dev", "fewshot_config": {"sampler": "first_n"}, "num_fewshot": 1}
    (task,) = load(write(rows=rows, **CHOICE, **shots, dataset_kwargs=files))
    assert task.shots == 1
    prompt, choice = task.tasks["task"].instances[0].args
    assert prompt == "Question: solved\nAnswer: b\n\nQuestion: q0\nAnswer:"
    assert choice == " a"


def test_a_folder_holds_tasks_and_a_group_counts_as_one(write, load, tmp_path):
    for name in ("a", "b", "c"):
        write(f"{name}.yaml", [{"text": name}], f"{name}.jsonl", **TEXT)
    write("both.yaml", group="both", task=["a", "b"])
    assert [(t.name, t.items) for t in load(tmp_path)] == [("both", 2), ("c", 1)]


def test_a_group_as_suite_lists_its_tasks_with_their_options(write, load):
    rows = [{"question": f"q{n}", "choices": ["a", "b"], "answer": 1} for n in range(9)]
    for name in ("a", "b", "c"):
        write(f"tasks/{name}.yaml", rows, f"{name}.jsonl", **CHOICE, fewshot_split="test")
    write("tasks/pair.yaml", group="pair", task=["a", "b"])
    limit = {"metadata": {"limit": 3}}
    suite = write(
        "suite.yaml", group="suite",
        task=[{"group": "pair", **limit}, {"task": "c", "num_fewshot": 2}],
    )  # fmt: skip
    pair, single = load(suite)
    assert (pair.name, pair.items, pair.total, pair.shots) == ("pair", 6, 18, 0)
    assert (single.name, single.items, single.shots) == ("c", 9, 2)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"metadata": {"limit": 0}}, "limit = 0 of task"),
        ({"metadata": {"limit": "ten"}}, "limit = 'ten' of task"),
        ({"doc_to_text": "{{qestion}}"}, "'qestion' is undefined"),
        ({"dotoctext": "x"}, "dotoctext"),
        ({"dataset_kwargs": {"data_files": {"test": "none.jsonl"}}}, "none.jsonl"),
        ({"num_fewshot": 9, "fewshot_split": "test"}, "requests of task cannot be built"),
    ],
)
def test_a_mistake_in_a_task_file_is_named(write, refused, config, message):
    rows = [{"question": "q", "choices": ["a", "b"], "answer": 1}]
    path = write(rows=rows, **{**CHOICE, **config})
    assert message in refused(path)


def test_a_row_without_a_valid_answer_is_named(write, refused):
    rows = [{"question": "q", "choices": ["a", "b"], "answer": n} for n in (1, 2, 0)]
    text = refused(write(rows=rows, **CHOICE))
    assert "row 2 of task" in text
    assert "The answer 2 is neither" in text
    assert "row 1" not in text
    assert "The text is empty" in refused(write("t.yaml", [{"text": ""}], **TEXT))


@pytest.mark.parametrize("text", ["", "- a", "a: [", "metric: acc"])
def test_what_is_no_task_file_is_a_mistake_and_no_crash(tmp_path, refused, text):
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    assert "docs/forgetting.md" in refused(path)
    assert "no such suite" in refused(tmp_path / "none")


BOMB = r"(a+)+\$"
WRITING = {"output_type": "generate_until", "doc_to_text": "{{q}}", "doc_to_target": "b"}
EXACT = {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}
FILTERS = {
    "filter": {"function": "regex", "regex_pattern": BOMB},
    "choices": {"function": "multi_choice_regex", "regexes_to_ignore": [BOMB]},
}


def filtered(**options):
    steps = [options, {"function": "take_first"}]
    return WRITING | {"filter_list": [{"name": "strict", "filter": steps}], "metric_list": [EXACT]}


class Writer(DummyLM):
    """A model that always writes the same."""

    def generate_until(self, requests, disable_tqdm=False):
        return ["a" * 60 + "!" for _ in requests]


@pytest.mark.parametrize(
    "config",
    [filtered(**options) for options in FILTERS.values()]
    + [WRITING | {"metric_list": [EXACT | {"regexes_to_ignore": [BOMB]}]}],
    ids=[*FILTERS, "metric"],
)
def test_a_pattern_that_never_ends_is_named_with_its_file(write, load, monkeypatch, config):
    monkeypatch.setattr(tasks, "MAX_SECONDS", 0.2)
    (task,) = load(write("folder/slow.yaml", [{"q": "a", "choices": ["a"]}], **config).parent)
    with pytest.raises(UsageError, match=r"0\.2 s") as caught:
        score(Writer(), task)
    assert "slow.yaml" in str(caught.value)
    assert ("'strict'" if "filter_list" in config else "the metrics") in str(caught.value)


def test_a_template_that_never_ends_is_named(write, refused, monkeypatch):
    monkeypatch.setattr(tasks, "MAX_SECONDS", 0.2)
    monkeypatch.setattr(tasks, "MAX_LOADING_SECONDS", 0.5)
    loop = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    slow = "{{ ('a' * 60) | regex_replace('(a+)+b', '') }}"
    later = "{{ ('a' * n) | regex_replace('(a+)+b', '') }}"
    for text, what in ((loop, "loading task"), (slow, "loading task"), (later, "row 2 of task")):
        rows = [{"n": 2}, {"n": 60}]
        said = refused(write(rows=rows, **{**WRITING, "doc_to_text": text}))
        assert f"{what} took longer" in said


@pytest.mark.parametrize(
    "config",
    [
        filtered(function="regex", regex_pattern="(a"),
        filtered(function="regex", regex_pattern="(" * 9999),
        filtered(function="regex", pattern="a"),
        filtered(function="multi_choice_regex", regexes_to_ignore=["a", "*"]),
        WRITING | {"metric_list": [EXACT | {"regexes_to_ignore": ["["]}]},
    ],
)
def test_a_filter_that_cannot_be_made_is_named_before_a_model_is_loaded(write, refused, config):
    said = refused(write("wrong.yaml", [{"q": "a"}], **config))
    assert "not valid" in said
    assert "wrong.yaml" in said


def test_yaml_that_multiplies_is_refused_wherever_it_is_included(write, refused, tmp_path):
    names = "abcdefghi"
    lines = [f"{b}: &{b} [{', '.join(['*' + a] * 9)}]" for a, b in itertools.pairwise(names)]
    (tmp_path / "bomb.inc").write_text("\n".join(["a: &a [x, x]", *lines]))
    for included in ("bomb.inc", "loop.inc"):
        (tmp_path / "loop.inc").write_text("a: &a [*a]\n")
        said = refused(write(rows=[{"question": "q"}], **CHOICE, include=included))
        assert included in said
        assert "alias" in said


def test_a_name_that_nobody_knows_is_compared_with_those_of_lm_eval(write, refused):
    path = write("suite.yaml", group="suite", task=["arc_easi"])
    assert "Did you mean 'arc_easy'" in refused(path)


def test_code_runs_in_the_sandbox_only_and_with_permission(write, load, refused):
    row = {"prompt": "def f():\n", "test": "assert f"}
    config = {
        "output_type": "generate_until", "doc_to_text": "{{prompt}}", "doc_to_target": "{{test}}",
        "unsafe_code": True,
    }  # fmt: skip
    metric = {"aggregation": "mean", "higher_is_better": True}
    ours = write("ours.yaml", [row], **config, metric_list=[{"metric": OURS, **metric}])
    assert "--run-generated-code" in refused(ours)
    assert load(ours, run_generated_code=True)[0].items == 1
    # Its functions would download and import code; they are not even looked for.
    foreign = "!function utils.pass_at_k"
    path = write("x.yaml", [row], **config, metric_list=[{"metric": foreign, **metric}])
    text = refused(path, run_generated_code=True)
    assert "outside the sandbox" in text
    assert "sweeper.metrics.programs.pass_at_1" in text


def test_the_shipped_examples_are_suites(load):
    folder = Path(__file__).parents[3] / "examples" / "suites"
    tasks = {task.name: task for task in load(folder / "local", run_generated_code=True)}
    assert {name: task.kind for name, task in tasks.items()} == {
        "code": "generate_until",
        "multiple_choice": "multiple_choice",
        "text": "loglikelihood_rolling",
    }
    assert "group" in yaml.safe_load((folder / "named.yaml").read_text())


@pytest.mark.parametrize(
    ("example", "name", "items", "total"),
    [("multiple_choice", "mmlu_subset", 300, 1140), ("code", "humaneval", 164, 164)],
)
def test_the_examples_read_real_sets(shared_data, load, tmp_path, example, name, items, total):
    folder = Path(__file__).parents[3] / "examples" / "suites" / "local"
    text = (folder / f"{example}.yaml").read_text()
    data = shared_data / name
    text = text.replace(f"{example}_dev.jsonl", str(data / "fewshot_dev.jsonl"))
    (tmp_path / "t.yaml").write_text(text.replace(f"{example}.jsonl", str(data / "test.jsonl")))
    (task,) = load(tmp_path, run_generated_code=True)
    assert (task.items, task.total) == (items, total)


def test_the_command_line_does_not_load_lm_eval():
    command = "import sys, sweeper.features.suite._scoring; sys.exit('lm_eval' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0
