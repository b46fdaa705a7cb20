"""What holds for every plan, over tasks, rows, memory, models and budgets."""

from __future__ import annotations

import re
from typing import Any

from figures import named
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from scenes import model_facts

from sweeper.errors import NothingFits
from sweeper.facts.machine.gpus import table
from sweeper.hyperparameters import BATCH, EPOCHS
from sweeper.planning.candidates import candidate_or_rejected, rated_model
from sweeper.planning.fitting import scaled
from sweeper.planning.planner import epochs_of, make_plan, ranked_candidates
from sweeper.planning.ranking import time_cost
from sweeper.planning.rulebook.book import rule_book
from sweeper.plans import Rejected, Remedy
from sweeper.spec import AimSpec

BOOK = rule_book()
PRICE = AimSpec().points_per_doubling

tasks = st.sampled_from(["classification", "instruction", "code", "domain"])
models = st.sampled_from(["minilm", "smollm2", "7B", "13B", "70B"])
rows = st.floats(1.3, 6).map(lambda power: round(10**power))
memory = st.floats(0.5, 2.3).map(lambda power: round(10**power, 1))
gpu_counts = st.sampled_from([1, 2, 8])
quick = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@quick
@given(
    task=tasks,
    model=models,
    rows=rows,
    gib=memory,
    factor=st.floats(1.01, 2.5),
    gpus=gpu_counts,
    longest=st.sampled_from([32, 128, 512, 2048]),
)
def test_more_memory_gives_no_slower_trial_of_equal_quality_and_no_less_worth(
    scene: Any, task: str, model: str, rows: int, gib: float, factor: float, gpus: int, longest: int
) -> None:
    lengths = {"mean": longest / 2, "p50": longest // 2, "p90": longest, "p99": longest}
    facts = {"gpus": gpus, "lengths": {**lengths, "longest": longest}}
    try:
        less, _ = ranked_candidates(BOOK, *scene(task, model, rows, gpu_gib=gib, **facts))
    except NothingFits:
        return
    larger = scene(task, model, rows, gpu_gib=round(gib * factor, 1), **facts)
    more, _ = ranked_candidates(BOOK, *larger)
    for before in less:
        after = next(one for one in more if one.strategy == before.strategy)
        if after.quality.mean <= before.quality.mean:
            assert after.duration.seconds <= before.duration.seconds
        costs = [time_cost(one.duration.seconds, PRICE) for one in (before, after)]
        assert after.quality.mean - costs[1] >= before.quality.mean - costs[0] - 2e-4


@quick
@given(
    task=tasks,
    model=st.sampled_from(["smollm2", "7B"]),
    rows=rows,
    amount=st.floats(-1.5, 2).map(lambda power: round(10**power, 3)),
    unit=st.sampled_from(["h", "gpuh", "usd"]),
    gpus=gpu_counts,
)
@example(task="classification", model="7B", rows=316_228, amount=31.623, unit="h", gpus=1)
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
@given(task=tasks, model=models, rows=rows, gib=memory, gpus=gpu_counts)
def test_no_default_lies_outside_what_its_strategy_allows_and_its_sources_name(
    scene: Any, task: str, model: str, rows: int, gib: float, gpus: int
) -> None:
    try:
        candidates, _ = ranked_candidates(BOOK, *scene(task, model, rows, gpu_gib=gib, gpus=gpus))
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
            # Epochs follow the number of updates, and a short memory lowers the rank.
            if name == EPOCHS or "do not fit" in parameter.why:
                continue
            rules = [reason for reason in candidate.reasons if name in reason.changes]
            texts = [declared[name].source, declared[name].why]
            texts += [text for rule in rules for text in (rule.title, rule.why, rule.source)]
            assert named(float(parameter.default), " ".join(texts)), (candidate.strategy, name)


@quick
@given(
    task=tasks,
    model=models,
    fewer=rows,
    factor=st.floats(1.001, 20),
    gib=st.sampled_from([24.0, 80.0]),
    gpus=gpu_counts,
)
def test_more_rows_never_give_fewer_updates(
    scene: Any, task: str, model: str, fewer: int, factor: float, gib: float, gpus: int
) -> None:
    updates, trained = [], []
    for count in (fewer, round(fewer * factor)):
        spec, facts = scene(task, model, count, gpu_gib=gib, gpus=gpus)
        base = rated_model(BOOK, spec, facts, facts.models[0])
        assume(base.strategies["lora"].refused is None)
        batch = int(base.strategies["lora"].parameters[BATCH].default)
        updates.append(epochs_of(spec, facts, base) * facts.data.train_rows / batch)
        trained.append(facts.data.train_rows)
    assume(trained[0] < trained[1])  # one row more may go to validation and one to test
    assert updates[1] >= updates[0] * 0.9999


@quick
@given(
    task=tasks, model=st.sampled_from(["smollm2", "7B", "13B"]), rows=rows, gib=memory,
    length=st.sampled_from([128, 512, 2048]), gpus=gpu_counts,
)  # fmt: skip
def test_qlora_is_never_faster_than_lora_in_the_same_set_up(
    scene: Any, task: str, model: str, rows: int, gib: float, length: int, gpus: int
) -> None:
    aim, training = {"strategies": ("lora", "qlora")}, {"max_length": length}
    try:
        candidates, _ = ranked_candidates(
            BOOK, *scene(task, model, rows, gpu_gib=gib, gpus=gpus, aim=aim, training=training)
        )
    except NothingFits:
        return
    by_name = {one.strategy: one for one in candidates}
    if by_name.keys() < {"lora", "qlora"}:
        return
    lora, qlora = by_name["lora"], by_name["qlora"]
    same = ("micro_batch", "gradient_checkpointing", "precision", "gradient_accumulation_steps")
    if all(getattr(lora.setup, name) == getattr(qlora.setup, name) for name in same):
        assert qlora.duration.seconds >= lora.duration.seconds


def with_remedy(strategy: str, model: str, remedy: Remedy) -> list[dict[str, Any]]:
    """What a user types for a remedy: each way of it as changes of the scene."""
    first = re.search(r"\d[\d,]*(\.\d+)?", remedy.text)
    assert first is not None
    number = float(first[0].replace(",", ""))
    if remedy.kind == "length":
        return [{"training": {"max_length": int(number)}}]
    if remedy.kind == "rank":
        return [{"request": {"parameters": {strategy: {"r": int(number)}}}}]
    if remedy.kind == "machine":
        return [{"hardware": {"memory_gib": number}}]
    if remedy.kind == "gpus":
        named = re.search(r"\((.*)\)", remedy.text)
        assert named is not None
        sizes = [table()[name].memory_gib for name in named[1].split(", ")]
        return [{"gpu_gib": size} for size in (*sizes, number)]
    if remedy.kind == "quantization":
        named = re.search(r"\((.*)\)", remedy.text)
        assert named is not None
        return [{"aim": {"strategies": (named[1],)}}]
    assert remedy.kind == "model"
    facts = model_facts(model)
    parameters = number * (1e9 if f"{first[0]}B" in remedy.text else 1e6)
    return [{"model": [scaled(facts, parameters / facts.parameters)]}]


@quick
@given(
    task=st.sampled_from(["instruction", "classification"]),
    model=models,
    gib=st.one_of(st.none(), memory),
    strategy=st.sampled_from(["lora", "qlora", "full"]),
)
def test_every_remedy_works_when_it_is_typed(
    scene: Any, task: str, model: str, gib: float | None, strategy: str
) -> None:
    aim = {"strategies": (strategy,)}
    spec, facts = scene(task, model, 2_000, gpu_gib=gib, aim=aim)
    base = rated_model(BOOK, spec, facts, facts.models[0])
    made = candidate_or_rejected(spec, facts, base, base.strategies[strategy], 3.0, leave_out=False)
    if not isinstance(made, Rejected):
        return
    for remedy in made.remedies:
        for change in with_remedy(strategy, model, remedy):
            kept = {"model": model, "gpu_gib": gib, "aim": aim} | change
            candidates, _ = ranked_candidates(BOOK, *scene(task, rows=2_000, **kept))
            assert candidates, (remedy, change)
