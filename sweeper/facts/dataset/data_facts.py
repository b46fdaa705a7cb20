"""Facts about the data set: size, lengths, labels, faults, language."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from sweeper.data.examples import SPLITS, Dataset, Example, Message
from sweeper.data.formats.text_label import class_turns
from sweeper.data.private import redacted
from sweeper.data.tools import text_with_calls
from sweeper.facts.dataset.domain_distance import domain_facts
from sweeper.facts.dataset.lengths import Write, lengths, prompt_turns, sample_of, token_counter
from sweeper.facts.record import (
    DataFacts,
    LabelCount,
    ModelFacts,
    ShownExample,
    SourceFacts,
    SplitFacts,
)
from sweeper.features.parts import named_data
from sweeper.spec import Spec
from sweeper.units import plural


def data_facts(dataset: Dataset, spec: Spec, model: ModelFacts) -> DataFacts:
    """The facts about a data set; lengths are measured with the model's tokenizer."""
    generates_label = spec.task == "classification" and spec.training.classes_by == "generate"
    has_conversations = generates_label or any(
        example.messages for example in dataset.splits["train"]
    )
    counter = token_counter(model, code=spec.task == "code", conversations=has_conversations)
    return DataFacts(
        path=dataset.path,
        revision=spec.data.revision,
        commits=spec.data.commits
        | {data.path: data.commit for data in named_data(spec.features) if data.commit},
        format=dataset.format,
        format_evidence=dataset.evidence,
        columns=dataset.columns,
        rows=dataset.rows,
        train_rows=len(dataset.splits["train"]),
        splits=_splits(dataset),
        fingerprint=dataset.fingerprint,
        lengths=lengths(
            _as_conversations(dataset) if generates_label else dataset,
            counter,
            spec,
            model.context_length,
        ),
        labels=_labels(dataset),
        duplicate_rows=dataset.counts["duplicates"],
        empty_rows=dataset.counts["empty"],
        leaked_rows=dataset.counts["leakage"],
        conflicting_rows=dataset.counts["conflicts"],
        encoding_problems=dataset.counts["garbled"],
        pretemplated=dataset.templated,
        domain=domain_facts(sample_of(dataset), counter, spec.aim),
        example=shown_example(
            _public_example(dataset.splits["train"]), spec, dataset.labels, counter.write
        ),
        sources=_sources(dataset, spec),
        further_rows=dict(sorted(Counter(row.source for row in dataset.further_rows).items())),
        faults=dataset.faults,
        warnings=(*dataset.warnings, *_tools_as_text(dataset, model)),
    )


def _public_example(train: Sequence[Example]) -> Example:
    """The first row without private-looking text; a placeholder if there is none."""
    public = (
        example
        for example in train
        if all(redacted(t) == t for t in (example.text, *(m.content for m in example.messages)))
    )
    return next(public, Example(train[0].key, train[0].line, text="(all rows look private)"))


def _tools_as_text(dataset: Dataset, model: ModelFacts) -> tuple[str, ...]:
    """A warning if the model's template does not support tool calls, which then become text."""
    lines = [
        e.line for rows in dataset.splits.values() for e in rows if any(m.more for m in e.messages)
    ]
    if not lines or model.folder is None:
        return ()
    # Imported here, as only conversations need jinja2.
    from sweeper.facts.models.chat_template import writes_tools

    if writes_tools(Path(model.folder)):
        return ()
    return (
        f"{plural(len(lines), 'row')} with tool calls (line {min(lines)}), which the chat "
        f"template of {model.id} does not support: the calls become text, as <tool_call>{{...}}"
        "</tool_call>, and a server of the model must use the same form. A model whose template "
        "supports tools does not need this",
    )


def _sources(dataset: Dataset, spec: Spec) -> tuple[SourceFacts, ...]:
    titles = [source.title for source in spec.data.sources]
    if not titles:
        return ()
    counts = Counter((row.source, split) for split in SPLITS for row in dataset.splits[split])
    return tuple(
        SourceFacts(
            title=title,
            rows={split: counts[title, split] for split in SPLITS},
            weight=dataset.weights.get(title),
        )
        for title in titles
    )


def _as_conversations(dataset: Dataset) -> Dataset:
    """Labelled texts as conversations that end with the class."""
    return replace(
        dataset,
        splits={
            split: tuple(
                replace(row, text="", messages=class_turns(row, dataset.labels)) for row in rows
            )
            for split, rows in dataset.splits.items()
        },
    )


def _splits(dataset: Dataset) -> tuple[SplitFacts, ...]:
    return tuple(
        SplitFacts(name=name, rows=len(rows), origin=dataset.origins[name], sha256=_digest(rows))
        for name, rows in dataset.splits.items()
    )


def _digest(examples: Iterable[Example]) -> str:
    """SHA-256 of the sorted content hashes: the same for the same rows in any order."""
    # Grouped by first byte, as 16 bytes for each hash: a list of ten million would take a GB.
    groups = [bytearray() for _ in range(256)]
    for example in examples:
        row_hash = bytes.fromhex(example.content_hash())
        groups[row_hash[0]] += row_hash
    digest = hashlib.sha256()
    for group in groups:
        for row_hash in sorted(bytes(group[at : at + 16]) for at in range(0, len(group), 16)):
            digest.update(row_hash.hex().encode())
    return digest.hexdigest()


def _labels(dataset: Dataset) -> tuple[LabelCount, ...]:
    rows = Counter(example.label for split in dataset.splits.values() for example in split)
    return tuple(LabelCount(label=label, rows=rows[label]) for label in dataset.labels)


def shown_example(
    example: Example, spec: Spec, labels: tuple[str, ...], write: Write
) -> ShownExample:
    """An example in the form that the task trains on.

    Args:
        write: Renders conversations, with the model's template if it is on this machine.
    """
    turns = list(example.messages)
    if example.label is not None:
        if spec.training.classes_by == "head":
            text = f"{example.text} "
            whole = f"{text}{example.label}"
            return ShownExample(line=example.line, text=whole, trained=((len(text), len(whole)),))
        turns = list(class_turns(example, labels))
    if not turns:
        trained = () if example.templated else ((0, len(example.text)),)
        return ShownExample(line=example.line, text=example.text, trained=trained)
    turns = prompt_turns(replace(example, messages=tuple(turns)), spec)
    (text,) = write([turns])
    return ShownExample(line=example.line, text=text, trained=_answers(text, turns))


def _answers(text: str, turns: list[Message]) -> tuple[tuple[int, int], ...]:
    """``(start, end)`` of trained assistant turns, except turns that the template changed."""
    spans: list[tuple[int, int]] = []
    cursor = 0
    for turn in turns:
        answer = text_with_calls(turn).strip()
        start = text.find(answer, cursor)
        if start < 0:  # the template writes tool calls in its own form
            answer = turn.content.strip()
            start = text.find(answer, cursor)
        if start < 0 or not answer:
            continue
        cursor = start + len(answer)
        if turn.role == "assistant" and turn.trained:
            spans.append((start, cursor))
    return tuple(spans)
