from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sweeper.facts.gather import gather
from sweeper.features.parts import record_of
from sweeper.features.pretraining._facts import NAME, CorpusFacts
from sweeper.features.pretraining.facts import check
from sweeper.spec import DataSpec, ModelSpec, Spec
from sweeper.specfile import resolve


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
        data=DataSpec(path=str(tmp_path / "task.jsonl")),
        features={"pretraining": {"corpus": str(tmp_path / "corpus.jsonl")}},
    )


def test_what_is_left_out_of_a_corpus_is_counted_and_said(spec: Spec) -> None:
    facts = gather(spec)
    corpus = record_of(facts.features, NAME, CorpusFacts)

    assert corpus is not None
    held_out = sum(split.rows for split in facts.data.splits if split.name != "train")
    assert corpus.leaked == held_out
    assert corpus.repeated == 1
    assert corpus.documents == 20 - held_out
    assert corpus.tokens > 0
    said = " ".join(facts.data.warnings)
    assert f"{held_out} of 20 documents of the corpus share text with validation or test" in said
    assert "repeated documents of the corpus, which are not read: 1" in said


@pytest.mark.parametrize(
    ("task", "data", "fix"),
    [
        ("code", {"path": "rows.jsonl"}, "--task domain"),
        ("domain", {}, "--data c.txt"),
        ("domain", {"examples": 9}, "--data c.txt"),
        ("domain", {"path": "rows.jsonl"}, None),
    ],
)
def test_a_corpus_needs_the_domain_task_and_data_of_the_task(
    task: str, data: dict[str, Any], fix: str | None
) -> None:
    given = {("data", name): value for name, value in data.items()}
    spec = resolve({
        ("task",): task, ("models", 0, "id"): "1B", ("features", NAME, "corpus"): "c.txt", **given,
    })  # fmt: skip
    problems = list(check(spec, for_run=False))
    assert [problem.where for problem in problems] == ["--corpus"] * (fix is not None)
    assert all(str(fix) in problem.fix for problem in problems)
