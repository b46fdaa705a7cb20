from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sweeper.data.examples import Example, Message
from sweeper.evaluation import evaluator
from sweeper.evaluation.evaluator import TokenizedSplit
from sweeper.tasks.domain import Domain
from sweeper.tasks.task import task as task_named

MakeTask = Callable[..., Any]
TALK = [
    Example(
        f"k{n}", n, messages=(Message("user", f"What is {n}?"), Message("assistant", f"It is {n}."))
    )
    for n in range(1, 5)
]
TEXT = [Example("t", 1, text="The quick brown fox jumps.")]


def test_it_is_found_by_its_name() -> None:
    assert task_named("domain") is Domain


def test_questions_are_answered_as_instructions_are(make_task: MakeTask) -> None:
    task = make_task(Domain, {"train": TALK}, task="domain")

    said = [label for label in task.encode(TALK)[0]["labels"] if label != -100]

    assert task.tokenizer.decode(said) == " It is 1.</s>"


def test_plain_text_is_learnt_from_its_second_token_on(make_task: MakeTask) -> None:
    task = make_task(Domain, {"train": TEXT}, task="domain")

    feature = task.encode(TEXT)[0]

    assert feature["labels"] == [-100, *feature["input_ids"][1:]]
    assert task.tokenizer.decode(feature["input_ids"]) == "The quick brown fox jumps.</s>"


def test_a_plain_text_is_a_prompt_without_its_end_token(make_task: MakeTask) -> None:
    task = make_task(Domain, {"train": TEXT}, task="domain")

    assert task.tokenizer.decode(task.prompt(TEXT[0])) == "The quick brown fox jumps."


def test_only_questions_can_be_shown_before_a_question(
    make_task: MakeTask, make_context: Any, llama: Any
) -> None:
    def names(train: list[Example]) -> list[str]:
        task = make_task(Domain, {"train": train}, task="domain")
        return [baseline.name for baseline in task.baselines(make_context(task, llama))]

    assert names(TALK) == ["zero_shot", "few_shot"]
    assert names(TEXT) == ["zero_shot"]


LONG = [Example("l", 7, text="The quick brown fox jumps over the lazy dog. " * 9)]


def test_all_of_a_long_text_is_trained_on_in_pieces(make_task: MakeTask) -> None:
    task = make_task(Domain, {"train": [*TEXT, *LONG]}, task="domain", cap=24)
    whole = task.encode_one(LONG[0]).ids

    items = TokenizedSplit(task, [*TEXT, *LONG], in_pieces=task.splits_long_texts)

    divided = [item["input_ids"] for item in items.features if len(item["input_ids"]) == 24]
    rest = [len(task.encode_one(TEXT[0]).ids), *([len(whole) % 24] if len(whole) % 24 else [])]
    assert [token for ids in divided for token in ids] == whole[: 24 * (len(whole) // 24)]
    assert sum(items.lengths) - 24 * len(divided) == sum(rest)
    assert {example.line for example in items.examples} == {7}
    (note,) = task.notes(items.encoding_kinds, "train")
    assert (note.kind, note.count, note.of) == ("divided", 1, len(items))


def test_short_texts_of_one_origin_share_an_item(make_task: MakeTask) -> None:
    texts = [
        Example(f"s{n}", n, text="The quick brown fox jumps. " * (1 + n % 3), source="ab"[n % 2])
        for n in range(40)
    ]
    task = make_task(Domain, {"train": texts}, task="domain", cap=64)
    whole = [task.encode_one(text).ids for text in texts]

    items = TokenizedSplit(task, texts, in_pieces=task.splits_long_texts)

    assert len(items) < 20
    assert max(items.lengths) <= 64
    seen = sorted(token for item in items.features for token in item["input_ids"])
    assert seen == sorted(token for ids in whole for token in ids)
    end = task.tokenizer.eos_token_id
    for item, example in zip(items.features, items.examples, strict=True):
        ids, labels = item["input_ids"], item["labels"]
        starts = [0, *(place + 1 for place, token in enumerate(ids[:-1]) if token == end)]
        assert [place for place, label in enumerate(labels) if label == -100] == starts
        parts = [ids[a:b] for a, b in zip(starts, [*starts[1:], len(ids)], strict=True)]
        own = [ids for ids, text in zip(whole, texts, strict=True) if text.source == example.source]
        assert all(part in own for part in parts)
    assert sum(item["labels"].count(-100) for item in items.features) == len(texts)


def test_the_pieces_of_many_texts_come_from_a_file(
    make_task: MakeTask, monkeypatch: Any, sweeper_home: Any
) -> None:
    task = make_task(Domain, {"train": LONG}, task="domain", cap=24)
    kept = TokenizedSplit(task, [*TEXT, *LONG], in_pieces=True)
    assert len(kept) > 2
    monkeypatch.setattr(evaluator, "MIN_ITEMS_IN_FILE", 0)
    mapped = TokenizedSplit(task, [*TEXT, *LONG], in_pieces=True)

    assert list(mapped.lengths) == list(kept.lengths)
    assert list(mapped.examples) == list(kept.examples)
    assert task.notes(mapped.encoding_kinds, "train") == task.notes(kept.encoding_kinds, "train")


def test_answers_are_never_divided(make_task: MakeTask) -> None:
    task = make_task(Domain, {"train": TALK}, task="domain", cap=8)

    assert not task.splits_long_texts
    assert len(TokenizedSplit(task, TALK)) == len(TALK)
