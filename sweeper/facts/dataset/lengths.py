"""How long examples are in tokens: measured with the model's tokenizer, or estimated from bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import nlargest
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.data.examples import Dataset, Example, Message
from sweeper.data.formats.turns import with_assertions
from sweeper.data.long_rows import long_row
from sweeper.data.tools import spelled
from sweeper.facts.dataset.length_cap import cap_of
from sweeper.facts.models.model_folder import read_tokenizer
from sweeper.facts.record import LengthFacts, LongRows, ModelFacts
from sweeper.spec import Spec

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SAMPLE_ROWS = 2000
"""Rows that are measured. The 99th percentile of 2,000 rows lies between the true 98.5th and
99.4th in 95 samples of 100 (binomial)."""

SAMPLE_CHARACTERS = 2_000_000
"""Rows are measured up to this many characters: about half a second of tokenizing."""

LONGEST_ROWS = 20
"""The rows with most characters are measured besides, so that the longest is not missed."""

BYTES_PER_TOKEN = 4.0
BYTES_PER_TOKEN_OF_CODE = 3.0
"""Used where there is no tokenizer; rounded down, so that lengths come out rather too long.
Measured with the tokenizers of MiniLM and SmolLM2: 3.9 to 4.7 on ten English data sets, 3.1 to 3.3
on descriptions with their Python code (MBPP, HumanEval)."""

Count = Callable[[Sequence[str]], list[int]]
"""Texts to their numbers of tokens, without special tokens."""

Write = Callable[[Sequence[Sequence[Message]]], list[str]]
"""Conversations as the model reads them."""


@dataclass(frozen=True)
class Ruler:
    """Measures texts.

    Args:
        special: Tokens that the tokenizer adds to a text that is not a conversation.
        how: In words, for the report.
        measured: A tokenizer counts; otherwise it is an estimate.
    """

    count: Count
    write: Write
    special: int
    how: str
    measured: bool


def ruler(model: ModelFacts, code: bool, conversations: bool) -> Ruler:
    """The best way to measure that this machine has for this model."""
    path = Path(model.folder) / "tokenizer.json" if model.folder else None
    tokenizer = _tokenizer(path) if path is not None and path.is_file() else None
    if tokenizer is None or path is None:
        ratio = BYTES_PER_TOKEN_OF_CODE if code else BYTES_PER_TOKEN
        how = f"estimated at {ratio:g} bytes a token, since there is no tokenizer"
        return Ruler(
            count=lambda texts: [round(len(text.encode()) / ratio) for text in texts],
            write=_joined,
            special=0,
            how=how,
            measured=False,
        )
    how = "measured with the model's tokenizer"
    write: Write = _joined
    if conversations:
        # Here, since jinja2 is needed for conversations alone.
        from sweeper.facts.models.chat_template import writer

        write, borrowed = writer(path.parent)
        how += f" and {borrowed}, since it has none" if borrowed else " and chat template"

    def count(texts: Sequence[str]) -> list[int]:
        return [len(e) for e in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    return Ruler(count, write, tokenizer.num_special_tokens_to_add(is_pair=False), how, True)


def _tokenizer(path: Path) -> Tokenizer | None:
    try:
        tokenizer = read_tokenizer(path)
    except ValueError:
        return None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _joined(conversations: Sequence[Sequence[Message]]) -> list[str]:
    return [
        "\n".join(spelled(message) for message in conversation) for conversation in conversations
    ]


"""Kernels and allocators like multiples of it (NVIDIA, Deep Learning Performance guide, section on
tensor core requirements)."""


def lengths(dataset: Dataset, ruler: Ruler, spec: Spec, context: int) -> LengthFacts:
    """Lengths of what the examples of ``dataset`` become, with tests and system prompt.

    Args:
        context: The model's, in tokens.
    """
    everything = chain.from_iterable(dataset.splits.values())
    sample = sample_of(dataset)
    each = _whole(sample, ruler, spec)
    whole = sorted(each)
    answered = [index for index, example in enumerate(sample) if example.messages]
    outputs = ruler.count([sample[index].answer for index in answered])
    by_size = _whole(nlargest(LONGEST_ROWS, everything, key=_characters), ruler, spec)
    seen = f"{len(sample):,} of {dataset.rows:,} rows"
    measured = LengthFacts(
        mean=sum(whole) / len(whole),
        p50=_percentile(whole, 50),
        p90=_percentile(whole, 90),
        p99=_percentile(whole, 99),
        longest=max(whole[-1], *by_size),
        output_mean=sum(outputs) / len(outputs) if outputs else None,
        output_share=_share([each[index] for index in answered], outputs),
        measured_with=f"{ruler.how} ({'all rows' if len(sample) == dataset.rows else seen})",
    )
    cap = cap_of(measured, spec.training.max_length, context)
    longer = sum(length > cap for length in whole)
    too_long = LongRows(
        cap=cap,
        rows=max(round(longer * dataset.rows / len(whole)), sum(size > cap for size in by_size)),
        of=dataset.rows,
        becomes=long_row(spec.task, has_prompt=bool(answered) or dataset.templated),
    )
    return measured.model_copy(update={"too_long": too_long})


def _share(whole: Sequence[int], outputs: Sequence[int]) -> float | None:
    """The share of answers in the tokens of the longest tenth, which fill the largest batch."""
    pairs = sorted(zip(whole, outputs, strict=True), reverse=True)
    longest = pairs[: -(-len(pairs) // 10)]
    tokens = sum(length for length, _ in longest)
    return min(sum(output for _, output in longest) / tokens, 1.0) if tokens else None


def sample_of(dataset: Dataset) -> list[Example]:
    """The first rows of all splits in turn: a random sample, since rows are in hash order."""
    rows: list[Example] = []
    characters = 0
    share = min(1.0, SAMPLE_ROWS / dataset.rows)
    for examples in dataset.splits.values():
        for example in islice(examples, max(1, round(share * len(examples)))):
            characters += _characters(example)
            if characters > SAMPLE_CHARACTERS and rows:
                break
            rows.append(example)
    return rows


def as_asked(example: Example, spec: Spec) -> list[Message]:
    """The turns of a conversation with what the request adds: tests and system prompt."""
    turns = list(example.messages)
    if spec.task == "code":
        turns = [*with_assertions(example), turns[-1]]
    system = spec.training.system_prompt
    if system and turns[0].role != "system":
        turns.insert(0, Message("system", system))
    return turns


def _whole(examples: Sequence[Example], ruler: Ruler, spec: Spec) -> list[int]:
    conversations = [as_asked(e, spec) for e in examples if e.messages]
    written = iter(ruler.write(conversations) if conversations else ())
    texts = [next(written) if e.messages else e.text for e in examples]
    counts = ruler.count(texts)
    return [
        count + (0 if example.messages else ruler.special)
        for count, example in zip(counts, examples, strict=True)
    ]


def _characters(example: Example) -> int:
    return len(example.text) + sum(len(spelled(message)) for message in example.messages)


def _percentile(ordered: Sequence[int], percent: int) -> int:
    """The smallest value that at least ``percent`` of 100 values do not exceed."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
