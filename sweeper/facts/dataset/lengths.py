"""Lengths of examples in tokens, measured with the model's tokenizer, or estimated from bytes."""

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
from sweeper.data.tools import text_with_calls
from sweeper.facts.models.model_folder import read_tokenizer
from sweeper.facts.record import LengthFacts, LongRows, ModelFacts
from sweeper.spec import Spec

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SAMPLE_ROWS = 2000
"""Number of measured rows. The 99th percentile of 2,000 rows lies between the true 98.5th and
99.4th in 95 samples of 100 (binomial)."""

SAMPLE_CHARACTERS = 2_000_000
"""Largest number of measured characters: about half a second of tokenizing."""

LONGEST_ROWS = 20
"""Number of rows with the most characters that are measured in addition, to find the longest."""

BYTES_PER_TOKEN = 4.0
BYTES_PER_TOKEN_OF_CODE = 3.0
"""Used without a tokenizer; rounded down, so that lengths are rather too high than too low.
Measured with the tokenizers of MiniLM and SmolLM2: 3.9 to 4.7 on ten English data sets, 3.1 to 3.3
on descriptions with their Python code (MBPP, HumanEval)."""

Count = Callable[[Sequence[str]], list[int]]
"""Counts the tokens of texts, without special tokens."""

Write = Callable[[Sequence[Sequence[Message]]], list[str]]
"""Renders conversations as text."""


@dataclass(frozen=True)
class TokenCounter:
    """Counts the tokens of texts, and renders conversations as text.

    Args:
        special: Number of tokens that the tokenizer adds to a plain text.
        how: The method as text, for the report.
        measured: Whether a tokenizer counts; otherwise counts are estimates.
    """

    count: Count
    write: Write
    special: int
    how: str
    measured: bool


def token_counter(model: ModelFacts, code: bool, conversations: bool) -> TokenCounter:
    """The best token counter for this model on this machine.

    Args:
        code: Whether the texts are code.
        conversations: Whether the counter has to render conversations.
    """
    path = Path(model.folder) / "tokenizer.json" if model.folder else None
    tokenizer = _tokenizer(path) if path is not None and path.is_file() else None
    if tokenizer is None or path is None:
        ratio = BYTES_PER_TOKEN_OF_CODE if code else BYTES_PER_TOKEN
        how = f"estimated at {ratio:g} bytes a token, since there is no tokenizer"
        return TokenCounter(
            count=lambda texts: [round(len(text.encode()) / ratio) for text in texts],
            write=_joined_lines,
            special=0,
            how=how,
            measured=False,
        )
    how = "measured with the model's tokenizer"
    write: Write = _joined_lines
    if conversations:
        # Imported here, as only conversations need jinja2.
        from sweeper.facts.models.chat_template import writer

        write, fallback_name = writer(path.parent)
        how += f" and {fallback_name}, since it has none" if fallback_name else " and chat template"

    def count(texts: Sequence[str]) -> list[int]:
        return [len(e) for e in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    return TokenCounter(count, write, tokenizer.num_special_tokens_to_add(is_pair=False), how, True)


def _tokenizer(path: Path) -> Tokenizer | None:
    try:
        tokenizer = read_tokenizer(path)
    except ValueError:
        return None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _joined_lines(conversations: Sequence[Sequence[Message]]) -> list[str]:
    return [
        "\n".join(text_with_calls(message) for message in conversation)
        for conversation in conversations
    ]


def lengths(dataset: Dataset, counter: TokenCounter, spec: Spec, context: int) -> LengthFacts:
    """Lengths of the encoded examples of a data set, with tests and system prompt.

    Args:
        context: The model's context length in tokens.
    """
    all_examples = chain.from_iterable(dataset.splits.values())
    sample = sample_of(dataset)
    example_lengths = _lengths_of(sample, counter, spec)
    ordered = sorted(example_lengths)
    answered = [index for index, example in enumerate(sample) if example.messages]
    outputs = counter.count([sample[index].answer for index in answered])
    largest = _lengths_of(nlargest(LONGEST_ROWS, all_examples, key=_characters), counter, spec)
    part = f"{len(sample):,} of {dataset.rows:,} rows"
    measured = LengthFacts(
        mean=sum(ordered) / len(ordered),
        p50=_percentile(ordered, 50),
        p90=_percentile(ordered, 90),
        p99=_percentile(ordered, 99),
        longest=max(ordered[-1], *largest),
        output_mean=sum(outputs) / len(outputs) if outputs else None,
        output_share=_output_share([example_lengths[index] for index in answered], outputs),
        measured_with=f"{counter.how} ({'all rows' if len(sample) == dataset.rows else part})",
    )
    cap = measured.cap(spec.training.max_length, context)
    longer = sum(length > cap for length in ordered)
    too_long = LongRows(
        cap=cap,
        rows=max(round(longer * dataset.rows / len(ordered)), sum(size > cap for size in largest)),
        of=dataset.rows,
        becomes=long_row(spec.task, has_prompt=bool(answered) or dataset.templated),
    )
    return measured.model_copy(update={"too_long": too_long})


def _output_share(totals: Sequence[int], outputs: Sequence[int]) -> float | None:
    """The share of answers in the tokens of the longest tenth of examples; None without tokens."""
    pairs = sorted(zip(totals, outputs, strict=True), reverse=True)
    longest = pairs[: -(-len(pairs) // 10)]
    tokens = sum(length for length, _ in longest)
    return min(sum(output for _, output in longest) / tokens, 1.0) if tokens else None


def sample_of(dataset: Dataset) -> list[Example]:
    """The first rows of all splits: a random sample, since rows are ordered by their hashes."""
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


def prompt_turns(example: Example, spec: Spec) -> list[Message]:
    """The turns of a conversation with the tests and the system prompt that the spec adds."""
    turns = list(example.messages)
    if spec.task == "code":
        turns = [*with_assertions(example), turns[-1]]
    system = spec.training.system_prompt
    if system and turns[0].role != "system":
        turns.insert(0, Message("system", system))
    return turns


def _lengths_of(examples: Sequence[Example], counter: TokenCounter, spec: Spec) -> list[int]:
    conversations = [prompt_turns(e, spec) for e in examples if e.messages]
    rendered = iter(counter.write(conversations) if conversations else ())
    texts = [next(rendered) if e.messages else e.text for e in examples]
    counts = counter.count(texts)
    return [
        count + (0 if example.messages else counter.special)
        for count, example in zip(counts, examples, strict=True)
    ]


def _characters(example: Example) -> int:
    return len(example.text) + sum(len(text_with_calls(message)) for message in example.messages)


def _percentile(ordered: Sequence[int], percent: int) -> int:
    """The smallest value that at least ``percent`` per cent of the sorted values do not exceed."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
