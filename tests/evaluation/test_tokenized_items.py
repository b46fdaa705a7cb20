"""Items from a mapped file are those from memory, and are made once for each way to make them."""

import copy
import os
import time

import pytest

from sweeper import cache
from sweeper.data.table import LazySequence
from sweeper.errors import DataError
from sweeper.evaluation import evaluator
from sweeper.evaluation.evaluator import TokenizedSplit, fingerprint


@pytest.fixture(params=["llama", "bert"])
def context(request, make_shared):
    return make_shared(request.param).context


@pytest.fixture(autouse=True)
def _every_split_is_large(monkeypatch):
    monkeypatch.setattr(evaluator, "MIN_ITEMS_IN_FILE", 0)
    monkeypatch.setattr(evaluator, "_BLOCK_EXAMPLES", 7)


def test_features_lengths_and_notes_are_those_of_a_list(context):
    task = copy.copy(context.task)
    task.sequence_length = 6  # so that some are cut
    examples = context.dataset.splits["train"]
    items = TokenizedSplit(task, examples)
    expected = [task.encode([one])[0] for one in examples]
    assert isinstance(items.features, LazySequence)
    plain = [{n: v for n, v in feature.items() if n != "encoding_kinds"} for feature in expected]
    assert list(items.features) == plain
    assert list(items.features[-3:]) == plain[-3:]
    assert list(items.lengths) == [len(feature["input_ids"]) for feature in expected]
    assert all(type(length) is int for length in items.lengths)
    notes = task.notes(expected, "train")
    assert notes
    assert task.notes(items.encoding_kinds, "train") == notes


def test_a_second_reader_maps_the_file(context, monkeypatch):
    examples = context.dataset.splits["validation"]
    first = list(TokenizedSplit(context.task, examples).features)
    monkeypatch.setattr(type(context.task), "encode", None)
    assert list(TokenizedSplit(context.task, examples).features) == first


def test_whatever_changes_tokens_changes_the_name(context):
    examples = list(context.dataset.splits["validation"])
    task = context.task
    names = {fingerprint(task, examples), fingerprint(task, examples[:-1])}
    changed = copy.copy(examples[0]), *examples[1:]
    assert fingerprint(task, changed) in names
    for name, value in (
        ("sequence_length", 5),
        ("facts", task.facts.model_copy(update={"id": "x"})),
    ):
        other = copy.copy(task)
        setattr(other, name, value)
        names.add(fingerprint(other, examples))
    other = copy.copy(task)
    other.tokenizer = copy.deepcopy(task.tokenizer)
    other.tokenizer.chat_template = "{{ messages[0].content }}"
    names.add(fingerprint(other, examples))
    assert len(names) == 5


def test_examples_that_cannot_be_written_are_named_and_leave_nothing(
    context, monkeypatch, sweeper_home
):
    def refuse(_task, examples):
        raise DataError("no answer", where=f"rows.jsonl:{examples[0].line}")

    examples = context.dataset.splits["test"]
    name = fingerprint(context.task, examples)
    monkeypatch.setattr(type(context.task), "encode", refuse)
    with pytest.raises(DataError) as refused:
        _ = TokenizedSplit(context.task, examples).features
    assert len(refused.value.problems) == -(-len(examples) // 7)
    assert not (sweeper_home / "items" / name).exists()


def test_what_nobody_used_for_a_month_makes_room(tmp_path):
    folders = [tmp_path / name for name in ("old", "used", "new")]
    for folder in folders[:2]:
        cache.made_and_touched(folder, lambda new: (new / "x").touch())
    month = time.time() - cache.UNUSED_SECONDS - 9
    for folder in folders[:2]:
        os.utime(folder, (month, month))
    cache.made_and_touched(folders[1], lambda new: None)
    cache.made_and_touched(folders[2], lambda new: None)
    assert [folder.exists() for folder in folders] == [False, True, True]
