"""General text that the base model writes itself, if the user gives none.

Where its tokenizer has a chat template, the model makes up a question from the template's opening
and answers it; else it writes on from the beginning of a text. Self-synthesised rehearsal (Huang
et al. 2024, arXiv:2403.01244) replays such text against forgetting; questions from the opening of
the template alone are Magpie's (Xu et al. 2024, arXiv:2406.08464).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from sweeper.cache import made_once
from sweeper.data.examples import Example, Message, input_key
from sweeper.data.general import SelfSampling
from sweeper.evaluation.generation import Sampling, generate
from sweeper.jsontext import value_of
from sweeper.tasks.sequences.chat import Chat
from sweeper.underway import Underway

TEXTS, RECORD = "texts.json", "sampling.json"


def sampled_texts(
    place: Path,
    base: Callable[[], nn.Module],
    tokenizer: Any,
    sampling: SelfSampling,
    underway: Underway,
    took: Callable[[float], None],
) -> tuple[Example, ...]:
    """Texts that the base wrote, from the cache or written now.

    Args:
        place: Folder in the cache, named after model and settings.
        underway: Called for each token, and while another process writes.
        took: Called with the seconds of writing, if this process did it.

    Raises:
        Interrupted: It was told to stop.
    """

    def waiting() -> None:
        underway("waiting for general text that another process writes", 0, 0)

    def write(folder: Path) -> None:
        start = time.perf_counter()
        rows = _written(base(), tokenizer, sampling, underway)
        seconds = {"seconds": time.perf_counter() - start}
        took(seconds["seconds"])
        (folder / TEXTS).write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
        (folder / RECORD).write_text(json.dumps(asdict(sampling) | seconds), encoding="utf-8")

    folder = made_once(place, write, lambda found: _kept(found) is not None, waiting)
    return _kept(folder) or ()


def _kept(folder: Path) -> tuple[Example, ...] | None:
    """The examples in a folder; None where it has none or is damaged."""
    try:
        rows = value_of((folder / TEXTS).read_text(encoding="utf-8"))
        return tuple(_example(line, row) for line, row in enumerate(rows, start=1))
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _example(line: int, row: Sequence[str]) -> Example:
    if len(row) == 1:
        return Example(key=input_key(row[0]), line=line, text=row[0])
    question, answer = row
    turns = (Message("user", question), Message("assistant", answer))
    return Example(key=input_key(question), line=line, messages=turns)


def _written(
    base: nn.Module, tokenizer: Any, sampling: SelfSampling, underway: Underway
) -> list[list[str]]:
    """Texts, or questions with answers, without empty and repeated ones."""
    chat = Chat(tokenizer)
    stops = chat.stop_tokens or (0,)

    def say(prompts: list[list[int]], what: str) -> list[str]:
        def told(done: int, _: int) -> None:
            underway(what, start + done, len(prompts))

        said: list[str] = []
        for start in range(0, len(prompts), sampling.batch):
            told(0, 0)
            part = prompts[start : start + sampling.batch]
            how = Sampling(sampling.temperature, seed=sampling.seed + start)
            answers = generate(
                base,
                tokenizer,
                part,
                stops,
                max_new_tokens=sampling.tokens,
                batch_size=sampling.batch,
                sampling=how,
                underway=told,
            )
            said += [texts[0] for texts in answers]
        return said

    def whole(text: str) -> bool:
        """Whether a text is neither empty nor cut, since a cut text would teach to stop early."""
        length = len(tokenizer(text, add_special_tokens=False)["input_ids"])
        return 0 < length < sampling.tokens

    if not chat.has_template:
        texts = say([_beginning(tokenizer, stops)] * sampling.texts, "writing general text")
        return [[text] for text in dict.fromkeys(filter(None, texts))]
    said = say([chat.opening()] * sampling.texts, "writing general questions")
    questions = [text for text in dict.fromkeys(said) if whole(text)]
    prompts = [chat.prompt([Message("user", question)]) for question in questions]
    answers = say(prompts, "answering general questions")
    return [[q, a] for q, a in zip(questions, answers, strict=True) if whole(a)]


def _beginning(tokenizer: Any, stops: Sequence[int]) -> list[int]:
    return [tokenizer.bos_token_id if tokenizer.bos_token_id is not None else stops[0]]
