"""A domain sweep on the command line: with a corpus beside the task, or with a corpus alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sweeper.errors import SpecError
from sweeper.spec import DataSpec, ModelSpec, Spec, Task
from sweeper.steps.run import default_name, prepare


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "papers.txt"
    path.write_text("\n\n".join(f"Paper {n} says that {n} is a number." for n in range(40)))
    return path


def request(corpus: Path, task: Task = "domain") -> Spec:
    return Spec(task=task, models=(ModelSpec(id="org/smol"),), data=DataSpec(corpus=str(corpus)))


def test_a_corpus_alone_names_the_run(corpus: Path) -> None:
    assert default_name(request(corpus)) == "domain-papers-smol"


def test_another_task_needs_data_of_its_own(corpus: Path) -> None:
    with pytest.raises(SpecError, match="no data is given"):
        prepare(request(corpus, "instruction"), check_model=False)


def test_a_corpus_alone_is_planned_as_the_task_itself(corpus: Path) -> None:
    spec = request(corpus).model_copy(update={"models": (ModelSpec(id="7B"),)})

    plan = prepare(spec, check_model=False).plan

    assert plan.facts.data.path == str(corpus)
    assert "corpus-is-the-task" in [reason.rule for reason in plan.advice]
    assert not any("first_stage" in candidate.parameters for candidate in plan.candidates)


def test_the_plan_says_what_the_corpus_is_and_that_its_use_is_searched(
    sweeper: Any, corpus: Path
) -> None:
    rows = [{"instruction": f"Add {n}", "output": f"{n + 1}"} for n in range(40)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ran = sweeper("plan", "--task", "domain", "--data", "rows.jsonl", "--corpus", str(corpus),
                  "--model", "1B", "--gpu-memory", "24")  # fmt: skip
    said = " ".join(ran.out.split())
    assert f"Corpus {corpus}: 40 documents, " in said
    assert ", first stage {" in said
    assert "First stage: about " in said
    assert "It is included in the time of the search" in said
