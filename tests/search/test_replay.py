"""The benchmark's own arithmetic: tables, costs, worlds and scores, on a small made-up table."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from curve_backend import make_plan

from benchmarks.search.costs import Costs
from benchmarks.search.design import REPEAT_EVERY, Design, Planned
from benchmarks.search.gap import ORACLE, budgets_until_good
from benchmarks.search.race import Entrant, Racing, survivors
from benchmarks.search.replay import METHODS, answered_by, replay, seeded
from benchmarks.search.score import Replay, mean
from benchmarks.search.table import (
    TABLES,
    StoredTable,
    StoredTrial,
    Table,
    read,
    read_stored,
    write,
)
from benchmarks.search.world import Ground, Realised, TableWorld, is_scored, scored_items
from sweeper.facts.record import LabelCount
from sweeper.hyperparameters import EPOCHS
from sweeper.plans import Parameter, Plan
from sweeper.training.loop.schedule import optimizer_steps, rung_steps
from sweeper.trials import FirstItems

BATCH = "per_device_train_batch_size"
TRIALS, RUNG_ITEMS = 60, 20

PACKAGES = {"SMAC by strategy": "smac", "HEBO by strategy": "hebo"}


def is_installed(method: str) -> bool:
    """Whether the method's package is here: no extra of the project has SMAC or HEBO."""
    return method not in PACKAGES or find_spec(PACKAGES[method]) is not None


def plan() -> Plan:
    made = make_plan()
    labels = tuple(LabelCount(label=name, rows=140) for name in ("a", "b"))
    data = made.facts.data.model_copy(update={"labels": labels})
    batch = Parameter(
        kind="categorical", choices=(8, 16, 32), allowed_choices=(4, 8, 16, 32), default=16,
        source="test",
    )  # fmt: skip
    candidates = tuple(
        one
        if one.strategy == "head"
        else one.model_copy(update={"parameters": {**one.parameters, BATCH: batch}})
        for one in made.candidates
    )
    facts = made.facts.model_copy(update={"data": data})
    budget = made.budget.model_copy(update={"rung_items": RUNG_ITEMS})
    return made.model_copy(update={"facts": facts, "candidates": candidates, "budget": budget})


def loss_at(parameters: Mapping[str, Any]) -> float:
    """A bowl in the logarithm of the rate; the head alone is worst."""
    rate = parameters.get("learning_rate")
    return 0.9 if rate is None else 0.3 + 0.2 * (math.log10(float(rate)) + 3.5) ** 2


def stored_trial(index: int, planned: Planned, epochs: float) -> StoredTrial:
    fields = {
        "index": index, "strategy": planned.strategy, "parameters": planned.parameters,
        "seed": planned.seed, "state": "COMPLETE",
    }  # fmt: skip
    loss = loss_at(planned.parameters) * (1 + 0.02 * planned.seed)
    final = loss * np.random.default_rng(index).uniform(0.8, 1.2, 60)
    if planned.strategy == "head":
        steps, items, seconds = [0], np.zeros((0, 0)), np.asarray([2.0])
    else:
        total = optimizer_steps(200, int(planned.parameters[BATCH]), epochs)
        at = {rung: step for step, rungs in rung_steps(total, 8).items() for rung in rungs}
        steps = [at[rung] for rung in sorted(at)]
        items = np.asarray([np.full(RUNG_ITEMS, loss + 0.1 * (8 - rung)) for rung in range(1, 8)])
        seconds = np.asarray(steps) * 0.1 * int(planned.parameters[BATCH])
    arrays = {
        "rungs": items, "final": final, "steps": np.asarray(steps),
        "training_seconds": seconds, "evaluation_seconds": seconds * 0.0, "cpu_seconds": seconds,
    }  # fmt: skip
    return StoredTrial(fields, arrays)


@pytest.fixture(scope="module")
def stored() -> StoredTable:
    made = plan()
    design = Design(made, "made up")
    epochs = made.budget.epochs
    trials = [stored_trial(index, design.planned(index), epochs) for index in range(TRIALS)]
    return StoredTable(json.loads(made.to_json()), trials)


@pytest.fixture(scope="module")
def tables(stored: StoredTable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    write(folder / "made-up.npz", stored)
    return folder


@pytest.fixture(scope="module")
def table(tables: Path) -> Table:
    return read("made-up", tables)


@pytest.fixture(scope="module")
def ground(table: Table) -> Ground:
    return Ground.of(table)


def test_a_table_gives_back_what_was_recorded_within_a_byte(
    table: Table, stored: StoredTable
) -> None:
    for one, made in zip(table.trials, stored.trials, strict=True):
        assert one.loss == pytest.approx(made.arrays["final"].mean(), rel=2e-3)
        if one.strategy != "head":
            assert one.items == pytest.approx(made.arrays["rungs"], rel=0.04)


@pytest.mark.parametrize("name", sorted(path.stem for path in TABLES.glob("*.npz")))
def test_each_recorded_table_has_a_plan_of_this_version(name: str) -> None:
    table = read(name)
    assert len(table.trials) > 50
    assert {one.strategy for one in table.trials} == {c.strategy for c in table.plan.candidates}


def test_a_table_that_is_written_again_stays_the_same(tables: Path, tmp_path: Path) -> None:
    first = read_stored(tables / "made-up.npz")
    write(tmp_path / "again.npz", first)
    again = read_stored(tmp_path / "again.npz")
    assert again.plan == first.plan
    for one, two in zip(first.trials, again.trials, strict=True):
        assert one.fields == two.fields
        assert one.arrays.keys() == two.arrays.keys()
        assert all(np.array_equal(one.arrays[key], two.arrays[key]) for key in one.arrays)


def test_costs_are_those_of_the_machine_that_recorded_most(table: Table) -> None:
    slow = [replace(one, machine="old", training_seconds=one.training_seconds * 5)
            for one in table.trials[:20]]  # fmt: skip
    mixed = replace(table, trials=(*slow, *table.trials[20:]))
    items = scored_items(table.plan)
    parameters = table.plan.candidate("lora").defaults()
    alone, both = (Costs.of(one).seconds("lora", parameters, items)[-1] for one in (table, mixed))
    assert both == pytest.approx(alone, rel=0.05)


def test_a_replay_shows_and_pays_only_the_rungs_that_the_plan_scores(ground: Ground) -> None:
    sparse = plan().budget.model_copy(update={"rung_every": 4, "rung_items": RUNG_ITEMS})
    made = ground.table.plan.model_copy(update={"budget": sparse})
    assert scored_items(made) == [0, 0, 0, RUNG_ITEMS, 0, 0, 0, scored_items(plan())[-1]]
    world = TableWorld(replace(ground, table=replace(ground.table, plan=made)), 0)
    objective = answered_by(world, made, [])
    assert [rung.rung for rung in objective("lora", table_default(ground))] == [4, 8]
    assert [rung.rung for rung in objective("head", {})] == [8]


def test_recording_goes_on_with_the_same_configurations_and_repeats_some_on_other_seeds() -> None:
    first, again = Design(plan(), "x"), Design(plan(), "x")
    planned = [first.planned(index) for index in range(30)]
    assert planned == [again.planned(index) for index in range(30)]
    assert {one.strategy for one in planned[:3]} == {"lora", "full", "head"}
    repeated = planned[2 * REPEAT_EVERY]
    assert repeated.seed == planned[2 * REPEAT_EVERY - 3].seed + 1
    assert repeated.parameters == planned[2 * REPEAT_EVERY - 3].parameters


def test_costs_are_steps_times_calibrated_seconds(table: Table) -> None:
    costs = Costs.of(table)
    items = scored_items(table.plan)
    parameters = table.plan.candidate("lora").defaults()
    seconds = costs.seconds("lora", parameters, items)
    steps = optimizer_steps(200, 16, table.plan.budget.epochs)
    assert seconds[-1] == pytest.approx(steps * 1.6, rel=0.02)
    assert seconds == sorted(seconds)
    assert costs.seconds("head", {}, items) == [2.0]


def table_default(ground: Ground) -> dict[str, object]:
    return dict(ground.table.plan.candidate("lora").defaults())


def test_a_table_world_gives_each_recorded_trial_once(ground: Ground) -> None:
    world = TableWorld(ground, 0)
    lora = [one.parameters for one in ground.table.of("lora")]
    count = sum(parameters not in lora[:place] for place, parameters in enumerate(lora))
    assert 0 < count < len(lora)
    shown = [world.trial("lora", table_default(ground)).truth for _ in range(count + 1)]
    assert len(set(shown[:-1])) == count
    assert math.isinf(shown[-1])


def test_trials_of_fewer_epochs_end_at_their_own_rung_and_those_that_overfit_before(
    ground: Ground,
) -> None:
    whole, half, early = ground.table.of("lora")[:3]
    half = replace(
        half, parameters=half.parameters | {EPOCHS: 1.0}, items=half.items[:3],
        steps=half.steps[:4], training_seconds=half.training_seconds[:4],
    )  # fmt: skip
    early = replace(
        early, parameters=early.parameters | {EPOCHS: 2.0}, items=early.items[:5],
        steps=early.steps[:5], training_seconds=early.training_seconds[:5],
    )  # fmt: skip
    mixed = replace(ground, table=replace(ground.table, trials=(whole, half, early)))
    world, made = TableWorld(mixed, 0), seeded(ground.table.plan, 0)

    asked, kept = {**half.parameters, "r": 128}, list[Realised]()
    rungs = list(answered_by(world, made, kept)("lora", asked))
    assert [one.rung for one in rungs] == [1, 2, 3, 4]
    assert rungs[-1].validation_loss == kept[0].first_half
    assert kept[0].truth == half.loss
    assert math.isinf(world.trial("lora", asked).truth)  # no other one of that length

    rungs = list(answered_by(world, made, kept)("lora", early.parameters))
    assert [one.rung for one in rungs] == [1, 2, 3, 4, 5]
    assert kept[-1].truth == early.loss
    assert rungs[-1].validation_loss == pytest.approx(early.items[-1].mean())


def test_half_of_the_epochs_take_half_of_the_steps_and_an_early_end_scores_all_once_more(
    table: Table,
) -> None:
    costs, items = Costs.of(table), [10] * 7 + [100]
    costs = replace(costs, item=dict.fromkeys(costs.item, 1.0))
    parameters = table.plan.candidate("lora").defaults()
    full = costs.seconds("lora", parameters, items)
    half = costs.seconds("lora", {**parameters, EPOCHS: table.plan.budget.epochs / 2}, items)
    assert half[-1] == pytest.approx(full[3] - 10 + 100)
    early = costs.seconds("lora", parameters, items, ended=5)
    assert early[:4] == full[:4]
    assert early[4] == pytest.approx(full[4] + 100)


def test_each_seed_has_halves_of_its_own_and_sees_rungs_on_its_half_a(ground: Ground) -> None:
    items = np.arange(21.0)
    first, again, other = (TableWorld(ground, seed).halved(items) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert set(first) == set(other) == set(items)
    assert set(first[0::2]) != set(other[0::2])
    assert np.array_equal(first[:10], TableWorld(ground, 0).halved(items[:10]))
    shown = TableWorld(ground, 1).trial("head", {})
    whole = ground.table.of("head")[0].final
    assert shown.first_half != pytest.approx(float(whole[0::2].mean()))
    assert (shown.first_half + shown.second_half) / 2 == pytest.approx(float(whole.mean()), rel=0.1)


def test_a_repeated_configuration_is_met_on_one_of_its_seeds(ground: Ground) -> None:
    default = table_default(ground)
    trials = [replace(one, final=one.final * (1 + 0.1 * one.seed)) for one in ground.table.trials]
    noisy = replace(ground, table=replace(ground.table, trials=tuple(trials)))
    truths = {TableWorld(noisy, seed).trial("lora", default).truth for seed in range(12)}
    recorded = {one.loss for one in noisy.table.of("lora") if one.parameters == default}
    assert truths == recorded
    assert len(truths) == 3


@pytest.mark.parametrize("name", [name for name in METHODS if is_installed(name)])
def test_every_method_replays_and_pays_for_what_it_does(ground: Ground, name: str) -> None:
    world = TableWorld(ground, 1)
    limit = 6.0 * world.unit
    shown = replay(METHODS[name], world, 1, limit)
    head = TableWorld(ground, 1).trial("head", {})
    assert shown.ended[0][0] == pytest.approx(head.seconds[-1])
    incumbent = shown.incumbent(limit)
    assert incumbent is not None
    assert incumbent.truth < head.truth
    ends = [seconds for seconds, _ in shown.ended]
    assert ends == sorted(ends)
    assert len(ends) > 2


def test_a_race_pays_for_the_rest_alone_and_drops_the_worse_half(ground: Ground) -> None:
    world = TableWorld(ground, 1)
    entrants = [
        Entrant("lora", {**table_default(ground), "learning_rate": rate}, shown)
        for rate, shown in ((1e-4, curve_to(0.5)), (3e-4, curve_to(0.4)), (1e-3, curve_to(0.6)))
    ]
    racing = Racing(world, limit=1e9)
    racing.race(entrants)
    assert {one.rung for one in racing.finishers} == {8}
    assert len(racing.finishers) == 1
    assert racing.finishers[0].shown.losses[-1] == 0.4
    looks = [rung for rung in (1, 2, 4) if is_scored(world.plan, rung)]
    # Three reach the first look, two the second, one all others: at one second a rung.
    assert racing.spent == 3 * looks[0] + 2 * (looks[1] - looks[0]) + 8 - looks[1]


def curve_to(end: float) -> Realised:
    losses = tuple(end + (8 - rung) / 10 for rung in range(1, 9))
    seconds = tuple(map(float, range(1, 9)))
    return Realised(losses, seconds, np.full(20, end), end)


def test_survivors_include_near_ties_by_the_items_of_the_rung() -> None:
    items = np.tile([0.0, 1.0], 10)
    better, tied, worse = (
        Entrant("lora", {}, Realised((loss,), (1.0,), None, loss, (one,)), rung=1)
        for loss, one in (
            (0.50, FirstItems.among(items.tolist(), 20)),
            (0.51, FirstItems.among(items[::-1].tolist(), 20)),
            (0.60, FirstItems.among((items + 0.1).tolist(), 20)),
        )
    )
    assert survivors([worse, better]) == [better]
    assert survivors([tied, better]) == [better, tied]


def test_half_a_chooses_and_half_b_judges() -> None:
    def shown(a: float, b: float) -> Realised:
        return Realised((a,), (1.0,), np.tile([a, b], 20), (a + b) / 2)

    lucky, good, best = shown(0.1, 0.9), shown(0.3, 0.3), shown(0.3, 0.299)
    ended = ((10.0, good), (20.0, lucky))
    made = Replay(ended, best, limit=30.0)
    assert made.incumbent(30.0) is lucky
    assert made.reached() == 10.0
    assert math.isinf(Replay(ended[1:], best, limit=30.0).reached())


def test_an_interval_covers_the_mean_and_narrows_with_seeds() -> None:
    values = list(np.random.default_rng(0).normal(5, 1, 400))
    few, many = mean(values[:10]), mean(values)
    assert few.low < few.value < few.high
    assert many.high - many.low < few.high - few.low


def test_the_oracle_takes_no_longer_than_a_search(tables: Path) -> None:
    row = budgets_until_good("made-up", ["random"], 2, 6.0, tables)
    assert set(row) == {"random", ORACLE}
    assert row[ORACLE].mean() <= row["random"].mean()
