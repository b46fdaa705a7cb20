from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaConfig

from sweeper.facts.gather import gather
from sweeper.features.forgetting.options import Options
from sweeper.spec import (
    DataSpec,
    ModelSpec,
    Spec,
    TrialRequest,
)
from sweeper.specfile import resolve, to_yaml
from sweeper.steps import sweep as run_steps


@pytest.mark.parametrize("phase", ["download", "conversion"])
def test_a_run_plans_what_it_has_done_before_and_keeps_its_seconds(
    monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    """The model is on this machine when the plan is made."""
    spec = Spec(
        task="instruction",
        models=(ModelSpec(id="HuggingFaceTB/SmolLM2-135M"),),
        data=DataSpec(examples=200),
    )
    facts = gather(spec)
    hardware = facts.hardware.model_copy(update={"calibrated": "2026-01-31"})
    here = facts.models[0].model_copy(update={"missing": None})
    ready = facts.model_copy(update={"hardware": hardware, "models": (here,)})
    stubs: dict[str, Any] = {
        "rows_of": lambda *_: None,
        "gather": lambda *_, **__: ready,
        "must_be_trainable": lambda _: None,
        "missing_weights": lambda _: phase,
        "_convert": lambda *_, **__: None,
        "_download": lambda *_, **__: None,
    }
    for name, stub in stubs.items():
        monkeypatch.setattr(run_steps, name, stub)
    given = spec.model_copy(update={"data": DataSpec(path="rows.jsonl")})
    prepared = run_steps.prepare(given, check_model=True)
    assert prepared.phase_seconds.keys() == {phase}
    planned = prepared.plan.budget.phases
    assert {phase} == planned.keys() & {"download", "conversion"}


def test_a_runs_own_file_leads_to_its_folder_wherever_that_is(tmp_path: Path) -> None:
    folder = tmp_path / "copied"
    folder.mkdir()
    spec = Spec(task="code", name="mine", models=(ModelSpec(id="7B"),))
    file = folder / "sweep.yaml"
    file.write_text(to_yaml(spec), encoding="utf-8")
    assert run_steps._folder(spec, file).path == Path("runs/mine")  # nothing was planned there
    (folder / "plan.json").write_text("{}")
    assert run_steps._folder(spec, file).path == folder
    other = spec.model_copy(update={"name": "other"})
    assert run_steps._folder(other, file).path == Path("runs/other")


def test_a_run_is_resumed_from_another_folder_with_the_paths_of_its_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    began, other = tmp_path / "began", tmp_path / "other"
    (began / "rules").mkdir(parents=True)
    other.mkdir()
    monkeypatch.chdir(began)
    rule = {
        "id": "own",
        "title": "Own",
        "then": {"gap": {"full": {"points": 0.1, "sd": 1.0}}},
        "why": "Own.",
        "source": "own",
    }
    Path("rules/own.yaml").write_text(json.dumps([rule]))
    Path("general.txt").write_text("a text\nanother text\n")
    Path("base").mkdir()
    Path("base/config.json").write_text(LlamaConfig().to_json_string())
    rows = ({"prompt": f"question {n}", "completion": f"answer {n}"} for n in range(30))
    Path("rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    spec = Spec(
        name="mine",
        task="instruction",
        models=(ModelSpec(id="./base"),),
        trials=(TrialRequest(strategy="lora", model="./base"),),
        data=DataSpec(path="rows.jsonl"),
        features={"forgetting": {"general": "general.txt"}},
        rules=("rules",),
    )
    plan = run_steps._stored_plan(run_steps.prepare(spec, check_model=False))
    file = began / "runs" / "mine" / "sweep.yaml"
    plan.write(file.with_name("plan.json"))
    text = file.read_text()
    monkeypatch.chdir(other)
    again = resolve({}, file)
    assert again.data.path == str(began / "rows.jsonl")
    assert again.features.of(Options).general == str(began / "general.txt")
    assert again.models[0].id == again.trials[0].model == str(began / "base")
    prepared = run_steps.prepare(again, check_model=False, file=file)
    assert run_steps._stored_plan(prepared) == plan
    assert file.read_text() == text
    elsewhere = resolve({("data", "path"): "elsewhere.jsonl"}, file)  # a flag is of this folder
    assert elsewhere.data.path == "elsewhere.jsonl"
