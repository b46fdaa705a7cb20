from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.tasks.sequences.chat import Encoded, shorten, tokenise, with_bos_and_eos

# Ten tokens: BOS, prompt, an answer, prompt, the last answer.
TALK = Encoded(list(range(100, 110)), ((3, 5), (7, 10)), answer_bytes=(20, 30))
BOS = 100


def test_nothing_is_cut_from_what_fits() -> None:
    assert shorten(TALK, 10, BOS) is TALK


def test_the_prompt_loses_its_left_end_but_not_its_beginning_token() -> None:
    short = shorten(TALK, 8, BOS)

    assert short == replace(TALK, ids=[100, *range(103, 110)], answers=((1, 3), (5, 8)))


def test_an_answer_that_would_be_cut_is_no_longer_trained_on() -> None:
    short = shorten(TALK, 7, BOS)

    assert short is not None
    assert short.ids == [100, *range(104, 110)]
    assert short.answers == ((4, 7),)
    assert short.answer_bytes == (30,)


def test_an_answer_that_does_not_fit_with_one_token_before_it_is_given_up() -> None:
    assert shorten(TALK, 4, BOS) == Encoded([100, 107, 108, 109], ((1, 4),), 0, (30,))
    assert shorten(TALK, 4, None) == Encoded([106, 107, 108, 109], ((1, 4),), 0, (30,))
    assert shorten(TALK, 3, BOS) is None
    assert shorten(TALK, 3, None) is None


@given(
    prompt=st.integers(1, 30),
    answer=st.integers(1, 30),
    cap=st.integers(1, 40),
    bos=st.booleans(),
)
def test_shortening_never_loses_a_token_of_the_answer(
    prompt: int, answer: int, cap: int, bos: bool
) -> None:
    ids = list(range(prompt + answer))
    encoded = Encoded(ids, ((prompt, prompt + answer),), answer_bytes=(answer,))

    short = shorten(encoded, cap, 0 if bos else None)

    if answer + 1 > cap:
        assert short is None or len(ids) <= cap
    else:
        assert short is not None
        assert len(short.ids) == min(cap, len(ids))
        assert [label for label in short.labels() if label != -100] == ids[prompt:]


def test_the_first_token_is_never_trained_since_nothing_predicts_it() -> None:
    assert Encoded([5, 6, 7], ((0, 3),)).labels() == [-100, 6, 7]


@pytest.mark.parametrize("bos", [None, "<s>"])
def test_a_text_of_unknown_template_is_completed_once(
    bos: str | None, make_tokenizer: Callable[..., Any]
) -> None:
    tokenizer = make_tokenizer(bos=bos)
    plain = tokenise(tokenizer, "What? Paris.", ((5, 12),))

    done = with_bos_and_eos(plain, tokenizer)

    assert done.ids == [*plain.ids, tokenizer.eos_token_id]
    assert done.answers[-1][1] == len(done.ids)
    assert with_bos_and_eos(done, tokenizer) == done


def test_a_tokenizer_that_begins_texts_with_bos_does_so_once(
    make_tokenizer: Callable[..., Any],
) -> None:
    tokenizer = make_tokenizer(bos="<s>")
    tokenizer.add_bos_token = True
    tokenizer.update_post_processor()
    assert tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id, "the example must be one"
    text = "What? Paris.</s>"

    done = with_bos_and_eos(tokenise(tokenizer, text, ((5, len(text)),)), tokenizer)
    again = with_bos_and_eos(tokenise(tokenizer, f"<s>{text}", ((8, len(text) + 3),)), tokenizer)

    assert done.ids.count(tokenizer.bos_token_id) == 1
    assert done.ids == again.ids
    assert done.labels() == again.labels()
