"""What cannot be compared is refused before anything is trained."""

from __future__ import annotations

import pytest

from sweeper.data.prepared import prepared_data
from sweeper.features.answers import facts
from sweeper.features.answers._saved_answers import prompts
from sweeper.specfile import resolve
from sweeper.steps.planned import planned
from tests.features.answers.answer_files import batch_line, write

FILES = ("features", "answers", "files")


def spec_of(task="instruction", files=("mine.jsonl",), **more):
    keys = {("task",): task, ("data", "path"): "chat", FILES: files}
    return resolve(keys | {("models",): [{"id": "packaged:smollm2"}]} | more)


def test_answers_without_a_metric_of_answers_are_refused(chat):
    (problem,) = facts.check(spec_of(), False)
    assert problem.where == "--answers"
    compared = spec_of(**{})
    compared = compared.model_copy(
        update={"objective": compared.objective.model_copy(update={"name": "exact_match"})}
    )
    assert not list(facts.check(compared, False))
    assert not list(facts.check(spec_of("classification"), False))


def test_two_models_of_one_name_are_refused():
    files = ("a/mine.jsonl", "b/mine.jsonl", "c/other.jsonl")
    (problem,) = facts.check(spec_of("classification", files), True)
    assert problem.what == "2 files are called mine"


@pytest.mark.parametrize("missing", [0, 3])
def test_a_plan_looks_at_every_answer(chat, here, sweeper, missing):
    dataset = prepared_data(spec_of(files=())).dataset
    lines = [batch_line(request, chat(request)) for request in prompts(dataset, "m")]
    write(here / "mine.jsonl", lines[missing:])
    flags = "--task instruction --objective exact_match --data chat --answers mine.jsonl"
    shown = sweeper("plan", "--model", "packaged:smollm2", *flags.split())
    assert shown.code == (2 if missing else 0)
    assert ("3 of 45 answers are missing" in shown.err) == bool(missing)


def test_other_answers_are_another_study(chat, here):
    spec = spec_of().model_copy(update={})
    spec = spec.model_copy(
        update={"objective": spec.objective.model_copy(update={"name": "exact_match"})}
    )
    dataset = prepared_data(spec).dataset
    marks = []
    for answer in ("One.", "Two.", "One."):
        lines = [batch_line(request, answer) for request in prompts(dataset, "m")]
        write(here / "mine.jsonl", lines)
        marks.append(facts.identity(spec, planned(spec)[1].facts))
    assert marks[0] == marks[2] != marks[1]
