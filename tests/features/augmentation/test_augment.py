"""From train rows to new rows: filters, marks, kept replies."""

import asyncio

import pytest
from augment_server import by_rules

from sweeper.data.examples import Example, input_key
from sweeper.data.load import load
from sweeper.features.augmentation._augment import (
    answered_and_missing,
    augment,
    fields_of,
    label_drifts,
    rejection_reasons,
)
from sweeper.features.augmentation._clients import Replies, Reply
from sweeper.features.augmentation._methods import METHODS, NoReply, rewritten
from sweeper.spec import DataSpec

pytest.importorskip("rensa")


class Model:
    """Answers by a rule; an exception is raised."""

    def __init__(self, rule):
        self.rule, self.asked = rule, 0

    async def ask(self, request):
        self.asked += 1
        said = self.rule(request.messages[-1].content)
        if isinstance(said, Exception):
            raise said
        return Reply(said, 3, 2)

    async def close(self):
        return


@pytest.fixture
def run(dataset, tmp_path):
    def augmented(rule, method="paraphrase", rows=10, kept="kept.jsonl"):
        how = METHODS[method]
        jobs = how.row_requests(dataset.splits["train"], rows, 1)
        replies = Replies(tmp_path / kept, "fake")
        model = Model(rule)
        try:
            said = []
            told = lambda *state: said.append(state)  # noqa: E731
            found = asyncio.run(augment(dataset, how, jobs, model, replies, told))
        finally:
            replies.close()
        assert said[-1][1:] == (len(jobs), len(jobs))
        return found, model

    return augmented


def count(found, action):
    return sum(change.action == action for change in found.changes)


def reasons(found):
    return {change.why for change in found.changes}


def test_new_rows_are_marked_and_every_job_has_a_line(run, dataset):
    found, model = run(by_rules)
    assert model.asked == 10
    assert (found.tokens_in, found.tokens_out) == (30, 20)
    assert len(found.changes) == 10
    assert count(found, "added") == len(found.rows) >= 8
    keys = {row.key for row in dataset.splits["train"]}
    for row in found.rows:
        assert row["augmentation_method"] == "paraphrase"
        assert row["augmented_from"] in keys
        assert row["label"] in dataset.labels


def test_replies_are_kept_and_a_last_line_that_was_cut_is_asked_for_again(run, tmp_path):
    first, _ = run(by_rules)
    again, model = run(by_rules)
    assert (model.asked, again.rows, again.tokens_in) == (0, first.rows, 0)
    path = tmp_path / "kept.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    mended, model = run(by_rules)
    assert (model.asked, mended.rows) == (1, first.rows)
    assert run(by_rules)[1].asked == 0


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (lambda text: text, "repeats another row"),
        (lambda text: text.replace("please tell", "tell"), "nearly the same as a row of train"),
        (lambda text: text + " " + by_rules(text), "longer than every row of train"),
        (lambda text: f"Sure!\n{text[::-1]}", "several lines where its original has one"),
        (lambda text: f"what is the price of number 7{text[-9:]}", "its numbers differ from those"),
    ],
)
def test_rows_that_add_nothing_are_rejected(run, rule, why):
    found, _ = run(rule)
    assert not found.rows
    assert any(why in reason for reason in reasons(found))


def test_rows_that_are_or_resemble_held_out_rows_are_rejected(run, dataset):
    held = min((row.text for row in dataset.splits["test"]), key=len)
    found, _ = run(lambda _: held, method="synthetic")
    assert reasons(found) == {"is or quotes a row of validation or test"}
    shifted = held.replace(" costs ", " cost ")
    found, _ = run(lambda _: shifted, method="synthetic", kept="others.jsonl")
    assert "nearly the same as a row of validation or test" in reasons(found)


def test_a_question_in_other_words_is_kept_however_long_its_answer_is(write):
    answer = "the answer is the same and takes many more words than the question does " * 3
    pairs = [
        {"prompt": f"what would a {a} cost at the {b} today", "completion": f"{answer}{a} {b}"}
        for a in ("pear", "plum", "apple", "cherry", "fig")
        for b in ("market", "harbour", "village", "museum")
    ]
    pairs[0]["prompt"] += " or on any other day of this week and of the next one"
    data = load(DataSpec(path=str(write("pairs.jsonl", pairs))), "instruction")
    method = METHODS["paraphrase"]
    jobs = method.row_requests(data.splits["train"], 3, 1)
    texts = ("say its price", "I must pay how much?", "which sum do they want for it")
    made = [
        method.marked(rewritten(job.source_row, text), job)
        for job, text in zip(jobs, texts, strict=True)
    ]
    origins = {row: job.source_row for row, job in zip(made, jobs, strict=True)}
    assert rejection_reasons(origins, data, method) == {}


def test_a_row_without_reply_is_listed_and_costs_no_other_row(run):
    answers = iter([NoReply("the server was tired")])
    found, _ = run(lambda text: next(answers, None) or by_rules(text))
    assert count(found, "failed") == 1
    assert count(found, "added") + count(found, "rejected") == 9
    assert "the server was tired" in reasons(found)


def test_a_text_of_another_class_is_rejected_and_its_own_is_not(dataset):
    train = dataset.splits["train"]

    def new(origin, word):
        said = f"I would like to know about {word} and {word} at the moment"
        return Example(
            key=input_key(said + origin.key),
            line=0,
            text=said,
            label="fruit",
            made_from=(origin.key,),
        )

    fruit = [row for row in train if row.label == "fruit"]
    wrong, right = new(fruit[0], "copper"), new(fruit[1], "cherry")
    assert label_drifts(train, [wrong, right]) == {wrong: "metal"}


def test_what_is_kept_is_not_asked_for_again(dataset, tmp_path):
    replies = Replies(tmp_path / "kept.jsonl", "fake")
    method = METHODS["back-translation"]
    jobs = method.row_requests(dataset.splits["train"], 5, 2)
    replies.keep(method.first_request(jobs[0]), Reply("schon da"))
    known, missing = answered_and_missing(method, jobs, replies)
    assert (known, len(missing)) == (1, 9)
    replies.close()


def test_a_conversation_is_written_as_messages(dataset):
    row = fields_of(dataset.splits["train"][0], "paraphrase")
    assert list(row) == ["text", "label", "augmented_from", "augmentation_method"]
