from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeper.facts.gather import gather
from sweeper.spec import DataSpec, ModelSpec, Spec


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    """Ten questions and twelve documents, of which one is a question and one is there twice."""
    rows = [{"instruction": f"what is number {n} called", "output": f"n{n}"} for n in range(10)]
    (tmp_path / "task.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    texts = [f"document {n} " + "word " * n for n in range(10)]
    asked = [row["instruction"] for row in rows]
    (tmp_path / "corpus.jsonl").write_text(
        "\n".join(json.dumps({"text": text}) for text in [*texts, texts[3], *asked])
    )
    return Spec(
        task="domain",
        models=(ModelSpec(id="7B"),),
        data=DataSpec(path=str(tmp_path / "task.jsonl"), corpus=str(tmp_path / "corpus.jsonl")),
    )


def test_what_is_left_out_of_a_corpus_is_counted_and_said(spec: Spec) -> None:
    data = gather(spec).data

    assert data.corpus is not None
    held_out = sum(split.rows for split in data.splits if split.name != "train")
    assert data.corpus.leaked == held_out
    assert data.corpus.repeated == 1
    assert data.corpus.documents == 20 - held_out
    assert data.corpus.words > 0
    assert data.corpus.tokens > 0
    said = " ".join(data.warnings)
    assert f"{held_out} of 20 documents of the corpus share text with validation or test" in said
    assert "repetitions of documents in the corpus: 1" in said


@pytest.mark.parametrize("change", [{"corpus": None}, {"path": None}])
def test_without_a_corpus_beside_the_task_there_are_no_such_facts(
    spec: Spec, change: dict[str, str | None]
) -> None:
    if change.get("path", "") is None:
        assert spec.data.corpus is not None
        text = Path(spec.data.corpus)
        text.write_text("\n\n".join(f"text {n} " + "more " * n for n in range(12)))
        corpus = text.rename(text.with_suffix(".txt"))
        change = {"path": None, "corpus": str(corpus)}
    bare = spec.model_copy(update={"data": spec.data.model_copy(update=change)})

    assert gather(bare).data.corpus is None
