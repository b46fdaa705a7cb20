"""Code that a model wrote is run with permission and behind walls, or the sweep is refused."""

from dataclasses import replace

import pytest

from sweeper.errors import Problem, SpecError
from sweeper.features.generated_code import facts
from sweeper.spec import DataSpec, FeatureOptions, ModelSpec, Spec
from sweeper.steps import sweep as run_steps

REFUSED = Problem("not run", "wasmtime is not installed", "Install wasmtime.")


def test_a_sweep_is_refused_where_programs_cannot_be_cut_off(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(facts, "refusal", lambda: REFUSED)
    spec = Spec(
        task="code",
        models=(ModelSpec(id="packaged:smollm2"),),
        data=DataSpec(path="rows.jsonl"),
        features=FeatureOptions.model_validate({"generated_code": {"allow": True}}),
    )
    with pytest.raises(SpecError) as raised:
        run_steps.prepare(spec, check_model=False)
    (problem,) = raised.value.problems
    assert problem == replace(REFUSED, where="features.generated_code.allow")
    assert not list(tmp_path.iterdir())


def test_a_plan_takes_the_permission_that_it_asks_for(sweeper):
    asked = ["--task", "code", "--examples", "200", "--gpu-memory", "24", "--model", "7B"]
    asked += ["--objective", "pass_at_1"]
    refused = sweeper("plan", *asked)
    assert refused.code == 2
    assert "pass_at_1" in refused.err
    allowed = sweeper("plan", *asked, "--run-generated-code")
    assert allowed.code == 0, allowed.err
    assert "pass@1" in allowed.out
