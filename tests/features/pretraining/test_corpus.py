from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeper.data.load import load
from sweeper.data.similar import WINDOW_WORDS
from sweeper.features.pretraining._corpus import CorpusText, corpus_text
from sweeper.features.pretraining.options import Options
from sweeper.spec import DataSpec


def words(start: int, count: int) -> str:
    return " ".join(f"w{number}" for number in range(start, start + count))


@pytest.fixture
def spec(tmp_path: Path) -> DataSpec:
    """Ten questions, two of them held out; each has 40 words of its own."""
    rows = [{"instruction": words(100 * n, 40), "output": f"answer {n}"} for n in range(10)]
    path = tmp_path / "task.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return DataSpec(path=str(path))


def text_of(spec: DataSpec, *texts: str, rows: int | None = None) -> CorpusText:
    corpus = Path(str(spec.path)).with_name("corpus.jsonl")
    corpus.write_text("\n".join(json.dumps({"text": text}) for text in texts))
    options = Options(corpus=str(corpus), corpus_rows=rows)
    return corpus_text(options, spec, load(spec, "domain"))


def read(spec: DataSpec, *texts: str, rows: int | None = None) -> tuple[list[str], int, int]:
    text = text_of(spec, *texts, rows=rows)
    return sorted(d.text for d in text.documents), text.leaked, text.repeated


def held_out(spec: DataSpec) -> list[str]:
    splits = load(spec, "domain").splits
    return [e.messages[0].content for s in ("validation", "test") for e in splits[s]]  # type: ignore[index]


def test_documents_that_quote_held_out_rows_are_left_out(spec: DataSpec) -> None:
    quoted = held_out(spec)[0].split()[5 : 5 + WINDOW_WORDS]
    short = held_out(spec)[0].split()[5 : 4 + WINDOW_WORDS]
    trained = load(spec, "domain").splits["train"][0].messages[0].content

    kept, leaked, _ = read(
        spec,
        held_out(spec)[1].upper(),
        f"before {' '.join(quoted)} after",
        f"before {' '.join(short)} after",
        trained,
    )

    assert kept == sorted([f"before {' '.join(short)} after", trained])
    assert leaked == 2


def test_a_phrase_of_many_documents_is_no_leak(spec: DataSpec) -> None:
    phrase = " ".join(held_out(spec)[0].split()[:WINDOW_WORDS])

    kept, leaked, _ = read(spec, *(f"{phrase} {words(5000 + 50 * n, 20)}" for n in range(11)))

    assert (len(kept), leaked) == (11, 0)


def test_repeated_documents_are_read_once_and_rows_can_be_limited(spec: DataSpec) -> None:
    texts = [words(7000 + n, 5) for n in (0, 0, 1, 2)]

    assert read(spec, *texts)[1:] == (0, 1)
    fewer, _, _ = read(spec, *texts, rows=2)
    assert len(fewer) == 2


def test_another_text_has_another_fingerprint(spec: DataSpec) -> None:
    texts = ("one text", "another text")
    assert len({text_of(spec, text).fingerprint for text in texts}) == 2
