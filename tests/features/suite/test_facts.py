from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeper.errors import UsageError
from sweeper.features.suite.facts import suite_facts

CHOICE = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: choice.jsonl}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}} ABCD"
doc_to_choice: {choices}
process_docs: !function mine.clean
"""
WRITING = """
task: writing
dataset_path: csv
dataset_kwargs: {data_files: writing.csv}
output_type: generate_until
doc_to_text: question
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    row = {"question": "x" * 20, "choices": ["iron", "zinc", "gold"], "answer": 1}
    rows = [row, row, {**row, "question": "y" * 60}]
    (tmp_path / "choice.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "writing.csv").write_text("question,answer\nold apple,pear\nnew iron,zinc\n")
    return tmp_path


def only(folder: Path, text: str):
    (folder / "task.yaml").write_text(text)
    (task,) = suite_facts(folder / "task.yaml").tasks
    return task


@pytest.mark.parametrize(
    ("choices", "requests"), [("[A, B, C]", 1), ("choices", 3), ("'{{choices}}'", 3)]
)
def test_items_prompts_and_passes_come_from_local_rows(suite, choices, requests):
    task = only(suite, CHOICE.format(name="t", choices=choices))
    assert (task.output_type, task.items, task.requests) == ("multiple_choice", 2, requests)
    # 12 bytes of choices, 5 of the template, and the question
    assert task.prompt_tokens == pytest.approx((17 + (20 + 60) / 2) / 4, abs=0.1)


def test_solved_examples_lengthen_a_prompt_and_a_limit_leaves_items_out(suite):
    text = CHOICE.format(name="t", choices="[A, B]")
    plain, longer = (only(suite, text + more) for more in ("", "num_fewshot: 3\n"))
    assert longer.prompt_tokens == pytest.approx(4 * plain.prompt_tokens, abs=0.5)
    assert only(suite, text + "metadata: {limit: 1}\n").items == 1


@pytest.mark.parametrize(
    ("more", "tokens"), [("", 256), ("generation_kwargs: {max_gen_toks: 9}\n", 9)]
)
def test_what_is_written_has_a_longest_length(suite, more, tokens):
    task = only(suite, WRITING + more)
    assert (task.items, task.max_new_tokens, task.requests) == (2, tokens, 1)


def test_a_file_may_include_another_and_itself(suite):
    (suite / "base").write_text(WRITING + "include: base\n")
    task = only(suite, "include: base\ntask: mine\nmetadata: {limit: 1}\n")
    assert (task.name, task.items, task.max_new_tokens) == ("mine", 1, 256)


@pytest.mark.parametrize(
    "data", ["{data_files: none.jsonl}", "{data_files: 3}", "3", "{name: hub}", "{data_files: .}"]
)
def test_rows_that_cannot_be_read_are_unknown(suite, data):
    task = only(suite, f"task: t\ndataset_path: json\ndataset_kwargs: {data}\nmetadata: 3\n")
    assert (task.items, task.prompt_tokens) == (None, None)


def test_a_group_has_its_folders_tasks_and_names_what_lies_elsewhere(suite):
    (suite / "one.yaml").write_text(CHOICE.format(name="one", choices="[A, B]"))
    (suite / "general.yaml").write_text("""
group: general
task:
  - one
  - {group: mmlu, num_fewshot: 5, metadata: {limit: 10}}
  - {task: gsm8k, metadata: {limit: 100}}
""")
    for path in (suite, suite / "general.yaml"):
        tasks = {task.name: task for task in suite_facts(path).tasks}
        assert set(tasks) == {"one", "mmlu", "gsm8k"}
        assert tasks["one"].items == 2
        assert (tasks["mmlu"].items, tasks["mmlu"].limit, tasks["mmlu"].shots) == (None, 10, 5)
        assert (tasks["gsm8k"].items, tasks["gsm8k"].prompt_tokens) == (100, None)


@pytest.mark.parametrize(
    ("content", "code"), [(None, "no-suite"), ("a: 1", "no-suite"), ("{", "no-yaml")]
)
def test_what_is_no_suite_is_refused(tmp_path, content, code):
    path = tmp_path / "suite.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, check=lambda error: error.code == code):
        suite_facts(path)
