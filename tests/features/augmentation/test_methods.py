"""What a model is asked for, and what its replies become."""

import asyncio
import json

import pytest

from sweeper.data.examples import Example, Message, input_key
from sweeper.features.augmentation._methods import LANGUAGES, METHODS, NoReply


def text(number, label="fruit"):
    said = f"row {number}"
    return Example(key=input_key(said), line=number, text=said, label=label)


def question(number):
    turns = (Message("user", f"ask {number}"), Message("assistant", f"answer {number}"))
    return Example(key=input_key(f"ask {number}"), line=number, messages=turns)


def made(method, job, *replies):
    asked, left = [], list(replies)

    async def ask(request):
        asked.append(request)
        return left.pop(0)

    return asyncio.run(METHODS[method].make(job, ask)), asked


def test_a_paraphrase_keeps_the_label_and_knows_its_original():
    (job,) = METHODS["paraphrase"].row_requests([text(1)], 1, 1)
    row, (request,) = made("paraphrase", job, ' "other words" \n')
    assert (row.text, row.label) == ("other words", "fruit")
    assert row.made_from == (text(1).key,)
    assert row.key == input_key("other words")
    assert request.messages[-1].content == "row 1"
    assert "'fruit'" in request.messages[0].content


def test_of_a_conversation_the_last_question_is_rewritten_and_the_answer_stays():
    (job,) = METHODS["paraphrase"].row_requests([question(1)], 1, 1)
    row, _ = made("paraphrase", job, "in other words")
    assert [turn.content for turn in row.messages] == ["in other words", "answer 1"]
    assert row.key == input_key("in other words")


def test_back_translation_goes_by_another_language_for_each_variant():
    languages = set()
    for job in METHODS["back-translation"].row_requests([text(1)], 1, len(LANGUAGES)):
        row, (there, back) = made("back-translation", job, "hin", "und zurück")
        languages |= {name for name in LANGUAGES if name in there.messages[0].content}
        assert back.messages[-1].content == "hin"
        assert row.text == "und zurück"
    assert languages == set(LANGUAGES)


def test_back_translation_spreads_the_languages_over_texts_with_one_new_row_each():
    method, rows = METHODS["back-translation"], [text(n) for n in range(300)]
    asked = [
        method.first_request(job).messages[0].content for job in method.row_requests(rows, 300, 1)
    ]
    counts = [sum(name in task for task in asked) for name in LANGUAGES]
    assert min(counts) > 30
    alone = [
        method.first_request(job).messages[0].content
        for job in method.row_requests(rows[7:8], 1, 1)
    ]
    assert alone == asked[7:8]


def test_a_synthetic_row_is_shown_rows_of_its_class_and_remembers_all_of_them():
    train = [text(n, "fruit" if n % 2 else "metal") for n in range(40)]
    jobs = METHODS["synthetic"].row_requests(train, 2, 2)
    assert len(jobs) == 4
    for job in jobs:
        assert len({origin.label for origin in job.source_rows}) == 1
        assert len(set(job.source_rows)) == 8
        row, _ = made("synthetic", job, "something new")
        assert set(row.made_from) == {origin.key for origin in job.source_rows}
    assert set(jobs[0].source_rows) != set(jobs[1].source_rows)


def test_a_synthetic_question_comes_with_its_answer():
    (job,) = METHODS["synthetic"].row_requests([question(1)], 1, 1)
    said = json.dumps({"question": "why?", "answer": "therefore"})
    row, _ = made("synthetic", job, f"Sure!\n```json\n{said}\n```")
    assert [turn.content for turn in row.messages] == ["why?", "therefore"]


@pytest.mark.parametrize("reply", ["no JSON", "{}", '{"question": "why?"}', '{"question": "a'])
def test_another_form_is_no_row(reply):
    (job,) = METHODS["synthetic"].row_requests([question(1)], 1, 1)
    with pytest.raises(NoReply):
        made("synthetic", job, reply)


def test_an_empty_reply_is_no_row():
    (job,) = METHODS["paraphrase"].row_requests([text(1)], 1, 1)
    with pytest.raises(NoReply):
        made("paraphrase", job, ' "" ')
