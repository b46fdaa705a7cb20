"""What holds for every plan, over tasks, rows, memory, models and budgets."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeper.errors import NothingFits
from sweeper.planning.planner import make_plan, ranked_candidates
from sweeper.planning.rulebook.rules import rule_book

BOOK = rule_book()
# A range is narrowed only where that makes trials faster by more than a tenth.
SLACK = 1.101

tasks = st.sampled_from(["classification", "instruction", "code", "domain"])
models = st.sampled_from(["minilm", "smollm2", "7B", "13B", "70B"])
rows = st.floats(1.3, 6).map(lambda power: round(10**power))
memory = st.floats(0.5, 2.3).map(lambda power: round(10**power, 1))
quick = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@quick
@given(task=tasks, model=models, rows=rows, gib=memory, factor=st.floats(1.01, 2.5))
def test_more_memory_never_gives_a_slower_trial_or_a_worse_set_up(
    scene: Any, task: str, model: str, rows: int, gib: float, factor: float
) -> None:
    try:
        less, _ = ranked_candidates(BOOK, *scene(task, model, rows, gpu_gib=gib))
    except NothingFits:
        return
    more, _ = ranked_candidates(BOOK, *scene(task, model, rows, gpu_gib=round(gib * factor, 1)))
    for before in less:
        after = next(one for one in more if one.strategy == before.strategy)
        assert after.quality.mean >= before.quality.mean
        same = (after.precision, after.optimizer) == (before.precision, before.optimizer)
        if same:
            assert after.duration.seconds <= SLACK * before.duration.seconds


@quick
@given(
    task=tasks,
    model=st.sampled_from(["smollm2", "7B"]),
    rows=rows,
    amount=st.floats(-1.5, 2).map(lambda power: round(10**power, 3)),
    unit=st.sampled_from(["h", "gpuh", "usd"]),
    gpus=st.sampled_from([1, 2, 8]),
)
def test_no_plan_exceeds_its_budget(
    scene: Any, task: str, model: str, rows: int, amount: float, unit: str, gpus: int
) -> None:
    aim = {"budget": f"{amount}{unit}"}
    try:
        plan = make_plan(*scene(task, model, rows, gpu_gib=80.0, gpus=gpus, price=2.0, aim=aim))
    except NothingFits:
        return
    limit = plan.budget.limit_seconds
    assert limit is not None
    assert plan.budget.sweep.high <= limit * 1.001


@quick
@given(task=tasks, model=models, rows=rows, gib=memory)
def test_no_default_lies_outside_what_its_strategy_allows(
    scene: Any, task: str, model: str, rows: int, gib: float
) -> None:
    try:
        candidates, _ = ranked_candidates(BOOK, *scene(task, model, rows, gpu_gib=gib))
    except NothingFits:
        return
    for candidate in candidates:
        declared = BOOK.strategies[candidate.strategy].parameters
        for name, parameter in candidate.parameters.items():
            if parameter.kind == "categorical":
                assert parameter.default in (parameter.choices or ())
                continue
            low, high = declared[name].parameter.bounds
            assert low is not None
            assert high is not None
            assert parameter.low is not None
            assert parameter.high is not None
            assert low <= parameter.low <= float(parameter.default) <= parameter.high <= high
