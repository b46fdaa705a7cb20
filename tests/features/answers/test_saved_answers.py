"""Answers are found by the content of their prompts, in any order, and none may be missing."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from sweeper.data.prepared import prepared_data
from sweeper.errors import DataError
from sweeper.features.answers._saved_answers import HELD_OUT, SavedAnswers, prompts
from sweeper.spec import DataSpec, Spec
from tests.features.answers.answer_files import batch_line, chat_row, write

CHAT = Spec(task="instruction", data=DataSpec(path="chat"))


def dataset_of(spec=CHAT):
    return prepared_data(spec).dataset


def requests():
    return list(prompts(dataset_of(), "ft:mine"))


def test_prompts_are_those_of_validation_and_test_without_answers(chat):
    written, dataset = requests(), dataset_of()
    keys = {row.key for split in HELD_OUT for row in dataset.splits[split]}
    assert {request["custom_id"] for request in written} == keys
    assert len(written) == len(keys) == 45
    bodies = [request["body"] for request in written]
    assert all(body["model"] == "ft:mine" for body in bodies)
    assert all([turn["role"] for turn in body["messages"]] == ["user"] for body in bodies)
    assert "Number 3." not in json.dumps(written)


@pytest.mark.parametrize("form", ["batch", "rows"])
def test_answers_are_matched_by_content_and_not_by_order(chat, here, form):
    lines = [batch_line(request, chat(request)) for request in requests()]
    if form == "rows":
        asked = [request["body"]["messages"][-1]["content"] for request in requests()]
        lines = [chat_row(text, chat(r)) for text, r in zip(asked, requests(), strict=True)]
    random.Random(0).shuffle(lines)
    path = write(here / "mine.jsonl", lines)
    dataset = dataset_of()
    saved = SavedAnswers.of(str(path))
    assert (saved.name, saved.title) == ("answers-mine", "mine")
    for split in HELD_OUT:
        assert saved.answers_for(dataset, CHAT, split) == [
            row.answer for row in dataset.splits[split]
        ]


def test_the_digest_is_that_of_the_answers_and_not_of_their_order(chat, here):
    lines = [batch_line(request, chat(request)) for request in requests()]
    digests = []
    for change in (lines, lines[::-1], [batch_line(requests()[0], "Other."), *lines[1:]]):
        path = str(write(here / "mine.jsonl", change))
        digests.append(SavedAnswers.of(path).checked(dataset_of(), CHAT).sha256)
    assert digests[0] == digests[1] != digests[2]


def test_missing_answers_are_counted_with_their_lines(chat, here):
    by_question = {r["body"]["messages"][0]["content"]: r for r in requests()}
    lines = [batch_line(request, chat(request)) for request in requests()]
    failed = by_question["Which test number is 6?"]
    lines = [line for line in lines if line["custom_id"] != failed["custom_id"]]
    lines.append(batch_line(failed, None))
    unanswered = by_question["Which validation number is 2?"]["custom_id"]
    lines = [line for line in lines if line["custom_id"] != unanswered]
    path = str(write(here / "mine.jsonl", lines))
    with pytest.raises(DataError) as error:
        SavedAnswers.of(path).checked(dataset_of(), CHAT)
    (problem,) = error.value.problems
    assert problem.where == path
    assert problem.what.startswith("2 of 45")
    assert "line 3 of validation and line 7 of test" in problem.why


def test_two_answers_to_a_prompt_are_refused_with_the_line(chat, here):
    lines = [batch_line(request, chat(request)) for request in requests()]
    path = write(here / "mine.jsonl", [*lines, lines[4], batch_line(requests()[7], "Other.")])
    with pytest.raises(DataError) as error:
        SavedAnswers.of(str(path)).checked(dataset_of(), CHAT)
    assert error.value.problems[0].where == f"{path}:47"


def test_a_call_of_a_tool_is_an_answer_as_a_model_writes_it(here: Path):
    tools = [{"type": "function", "function": {"name": "clock", "parameters": {}}}]
    call = {"id": "c", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    rows = []
    for number in range(90):
        user = {"role": "user", "content": f"Time {number}?"}
        answer = {"role": "assistant", "content": None, "tool_calls": [call]}
        rows.append({"messages": [user, answer], "tools": tools})
    write(here / "chat.jsonl", rows)
    spec = CHAT.model_copy(update={"data": DataSpec(path="chat.jsonl")})
    dataset = dataset_of(spec)
    written = list(prompts(dataset, "m"))
    assert all(request["body"]["tools"] == tools for request in written)
    lines = [batch_line(request, None) for request in written]
    for line in lines:
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        line["response"]["body"] = {"choices": [{"message": message}]}
    path = str(write(here / "mine.jsonl", lines))
    answers = SavedAnswers.of(path).answers_for(dataset, spec, "test")
    assert answers == [row.accepted[0] for row in dataset.splits["test"]]
