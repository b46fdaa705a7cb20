"""A suite's mistakes are all found at once, each with its line and the nearest name."""

from pathlib import Path

import pytest

from sweeper.errors import SpecError, UsageError
from sweeper.suite.definition import read_suite


@pytest.fixture
def write(tmp_path):
    def put(text: str) -> Path:
        path = tmp_path / "suite.yaml"
        path.write_text(text)
        return path

    return put


def test_a_few_lines_describe_a_task(write, tmp_path):
    path = write(
        "tasks:\n"
        "  facts: {file: facts.jsonl, kind: multiple-choice, columns: {choices: [a, b]}}\n"
        "  mmlu: {lm_eval: mmlu, limit: 20}\n"
    )
    suite = read_suite(path)
    assert suite.folder == str(tmp_path)
    assert list(suite.tasks) == ["facts", "mmlu"]
    assert suite.tasks["facts"].column("choices") == ("a", "b")
    assert suite.tasks["facts"].column("question") == "question"
    assert suite.tasks["mmlu"].limit == 20


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("tasks: {a: {file: x, kind: multiple_choice}}", 1, "Did you mean 'multiple-choice'"),
        ("tasks:\n  a: {file: x, kind: text, limt: 3}", 2, "Did you mean 'limit'"),
        ("task: {}", 1, "Did you mean 'tasks'"),
        ("tasks:\n  a: {file: x}", 2, "a file but no kind"),
        ("tasks:\n  a: {}", 2, "needs one source"),
        ("tasks:\n  a: {file: x, lm_eval: mmlu, kind: text}", 2, "not both"),
        ("tasks:\n  a:\n    lm_eval: mmlu\n    letters: true", 4, "does not go with lm_eval"),
        ("tasks:\n  a: {file: x, kind: text, fewshot: 2}", 2, "no solved examples"),
        ("tasks:\n  a: {file: x, kind: text, columns: {txt: t}}", 2, "Did you mean 'text'"),
        ("tasks:\n  a: {file: x, kind: generation, answer_pattern: '('}", 2, "regular expression"),
        ("tasks:\n  a: {file: x, kind: text, limit: 0}", 2, "limit = 0"),
    ],
)
def test_a_mistake_is_named_with_its_line(write, text, line, message):
    path = write(text)
    with pytest.raises(SpecError) as caught:
        read_suite(path)
    assert message in str(caught.value)
    assert f"{path}:{line}" in str(caught.value)


def test_all_mistakes_come_at_once(write):
    path = write("tasks:\n  a: {file: x}\n  b: {}\n  c: {file: x, kind: text, fewshot: 1}\n")
    with pytest.raises(SpecError) as caught:
        read_suite(path)
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize("text", ["", "- a", "tasks: []", "tasks: {}", "tasks: 3", "tasks: {a: 3}"])
def test_what_is_no_suite_is_a_mistake_and_no_crash(write, text):
    with pytest.raises(UsageError):
        read_suite(write(text))


def test_the_shipped_examples_are_suites():
    examples = sorted((Path(__file__).parents[2] / "examples" / "suites").glob("*.yaml"))
    assert len(examples) >= 3
    for path in examples:
        assert read_suite(path).tasks
