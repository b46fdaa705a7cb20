import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from saved_models import saved  # noqa: F401 - a fixture
from training_fixtures import (  # noqa: F401 - fixtures
    byte_llama,
    make_config,
    topics,
    turns,
)

from sweeper.cli.main import main
from sweeper.plans import Plan, TrialBudget
from sweeper.runfolder import RunFolder
from sweeper.trials import TrialConfig, TrialResult


@pytest.fixture
def finished(tmp_path, monkeypatch) -> Callable[..., RunFolder]:
    """Plan a sweep, and write one completed trial of each strategy as if it had run.

    The first strategy has the lowest loss. ``changes`` are parameters of every trial.
    """
    monkeypatch.chdir(tmp_path)

    def make(rows: list[dict], *flags: str, strategies: str = "lora,full", **changes) -> RunFolder:
        Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        planned = ["sweeper", "plan", "--data", "rows.jsonl", "--model", "packaged:smollm2"]
        planned += ["--gpu-memory", "24", "--strategies", strategies, "--name", "made", *flags]
        monkeypatch.setattr(sys, "argv", planned)
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        run = RunFolder(Path("runs/made"))
        plan = Plan.read(run.plan)
        for number, strategy in enumerate(strategies.split(",")):
            _complete(run, plan, number, strategy, changes)
        return run

    return make


def _complete(run: RunFolder, plan: Plan, number: int, strategy: str, changes: dict) -> None:
    candidate = plan.candidate(strategy)
    config = TrialConfig(
        number=number,
        seed=3,
        origin="default",
        task=plan.facts.task,
        strategy=strategy,
        model=candidate.model,
        parameters={**candidate.defaults(), **changes},
        budget=TrialBudget(
            epochs=plan.budget.epochs,
            full_tokens=plan.budget.full_tokens,
            rung_items=plan.budget.rung_items,
        ),
        setup=candidate.setup,
    )
    result = TrialResult(
        number=number,
        attempt=1,
        seed=3,
        state="COMPLETE",
        validation_loss=1.0 + number,
        best_rung=8,
    )
    folder = run.trial(number)
    folder.mkdir(parents=True)
    config.write(folder / "config.json")
    result.write(folder / "result.json")


@pytest.fixture
def questions() -> list[dict]:
    return [
        {"instruction": f"What is {n} plus {n + 1}?", "output": f"It is {2 * n + 1}."}
        for n in range(120)
    ]
