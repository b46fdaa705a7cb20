from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sweeper.errors import NothingFits
from sweeper.facts.record import Facts
from sweeper.features.pretraining._facts import FIRST_STAGE_RATES, NAME, CorpusFacts
from sweeper.features.pretraining.cost import _bases, with_stage
from sweeper.memory.estimate import estimate
from sweeper.memory.setup import Setup
from sweeper.planning.identity import identity
from sweeper.planning.planner import make_plan
from sweeper.plans import Candidate
from sweeper.spec import Spec
from sweeper.traits.traits import known_strategies, traits_of

CORPUS = {"features": {NAME: {"corpus": "corpus.txt"}}}
TEXT = CorpusFacts(path="corpus.txt", documents=449, tokens=160_000, sha256="a")


@pytest.fixture
def scene(scene: Any) -> Callable[..., tuple[Spec, Facts]]:
    """A domain task, with what is known of its corpus if that is given."""

    def make(*given: Any, text: CorpusFacts | None = None, **named: Any) -> tuple[Spec, Facts]:
        spec, facts = scene(*given, **{"request": CORPUS, **named})
        known = {NAME: text.model_dump(mode="json")} if text else {}
        return spec, facts.model_copy(update={"features": known})

    return make


def test_reading_a_corpus_and_skipping_it_are_configurations_of_every_trained_strategy(
    scene: Any,
) -> None:
    spec, facts = scene("domain", "smollm2", aim={"strategies": ("lora", "prefix")})

    for candidate in make_plan(spec, facts).candidates:
        stage = candidate.parameters["first_stage"]
        assert stage.choices == ("none", "full")
        assert candidate.defaults()["first_stage"] == "full"
        rates = candidate.parameters["first_stage_full_learning_rate"]
        assert rates.condition is not None
        assert rates.condition.parameter == "first_stage"
        assert set(rates.choices or ()) <= {2e-5, 5e-5}


def test_the_search_takes_the_time_of_its_first_stages_too(scene: Any) -> None:
    lora = {"strategies": ("lora",)}
    spec, facts = scene("domain", "smollm2", aim=lora, text=TEXT)
    none = Spec.model_validate(
        spec.model_dump() | {"parameters": {"lora": {"first_stage": {"choices": ["none"]}}}}
    )
    plan, without = make_plan(spec, facts), make_plan(none, facts)
    stage = plan.candidates[0].stages[NAME].seconds
    search, bare = (one.budget.phases["search"] for one in (plan, without))
    # One way with two rates.
    assert search.seconds - bare.seconds == pytest.approx(2 * stage)
    assert plan.budget.sweep.seconds > search.seconds
    assert not without.candidates[0].stages


STRATEGIES = [name for name in known_strategies() if traits_of(name).gradients_through_base]
WITHIN = {"lora": (1e-4, 3e-4), "full": (1e-5, 5e-5)}


def _configurations(candidate: Candidate) -> Iterator[dict[str, Any]]:
    """Everything that a sampler may draw of a first stage, with what is not searched."""
    names = [name for name in candidate.parameters if name.startswith("first_stage")]
    options = [
        candidate.parameters[name].allowed_choices
        if candidate.parameters[name].searched
        else (candidate.parameters[name].default,)
        for name in names
    ]
    for values in itertools.product(*(found or () for found in options)):
        chosen: dict[str, Any] = {}
        for name, value in zip(names, values, strict=True):
            if candidate.parameters[name].holds(chosen):
                chosen[name] = value
        yield chosen


@pytest.mark.parametrize("gpu_gib", [2.0, 3.0, 6.0, 24.0, None])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_strategy_can_draw_a_first_stage_that_makes_no_sense(
    scene: Any, strategy: str, gpu_gib: float | None
) -> None:
    aim = {"strategies": (strategy,)}
    try:
        plan = make_plan(*scene("domain", "smollm2", aim=aim, gpu_gib=gpu_gib))
    except NothingFits:
        return
    (candidate,) = plan.candidates
    found = [c for c in _configurations(candidate) if c]
    assert found or "first_stage" not in candidate.parameters
    for chosen in found:
        rates = {name for name in chosen if name.endswith("learning_rate")}
        if chosen["first_stage"] == "none":
            assert set(chosen) == {"first_stage"}
            continue
        way = chosen["first_stage"]
        assert rates == {FIRST_STAGE_RATES[way]}
        low, high = WITHIN[way]
        assert low <= chosen[rates.pop()] <= high
        assert {"first_stage_epochs", "first_stage_blocks"} < set(chosen)


def test_all_weights_are_not_drawn_where_they_do_not_fit(scene: Any) -> None:
    """LoRA reads where nine bytes a weight are there; all weights take 16 and their activations."""
    shown = {}
    for gib in (1.4, 3.0, 24.0):
        spec, facts = scene("domain", "smollm2", gpu_gib=gib, text=TEXT)
        candidates = [c for c in make_plan(spec, facts).candidates if "first_stage" in c.parameters]
        shown[gib] = {c.parameters["first_stage"].allowed_choices for c in candidates}
    assert not any("full" in (ways or ()) for ways in shown[1.4])
    assert shown[24.0] == {("none", "lora", "full")}


def test_a_way_that_does_not_fit_leaves_the_choices_and_the_default(scene: Any) -> None:
    spec, facts = scene("domain", "smollm2", text=TEXT)
    candidate = make_plan(spec, facts).candidate("lora")
    model, setup = facts.models[0], Setup(strategy="lora", sequence_length=16)
    offered = candidate.parameters["first_stage"]
    assert (offered.choices, offered.default) == (("none", "full"), "full")

    def narrowed(limit: float) -> Candidate:
        memory = candidate.memory.model_copy(update={"limit_gib": limit})
        small = candidate.model_copy(update={"memory": memory, "stage_notes": ()})
        return with_stage(spec, facts, model, small, setup)

    whole = estimate(model, setup.replace(strategy="full", padded=True), 100.0).high_gib
    some = narrowed(0.99 * whole)
    stage = some.parameters["first_stage"]
    assert (stage.choices, stage.allowed_choices) == (("none", "lora"), ("none", "lora"))
    assert stage.default == "lora"
    assert "with lora" in some.stage_notes[0]
    nothing = narrowed(0.1)
    assert not any(name.startswith("first_stage") for name in nothing.parameters)
    assert "left out" in nothing.stage_notes[0]


@pytest.mark.parametrize(("task", "request_"), [("domain", {}), ("instruction", CORPUS)])
def test_without_a_corpus_beside_the_task_there_is_no_first_stage(
    scene: Any, task: str, request_: dict[str, Any]
) -> None:
    plan = make_plan(*scene(task, "smollm2", request=request_))

    assert not any("first_stage" in candidate.parameters for candidate in plan.candidates)


def test_a_base_that_does_not_fit_in_fp32_reads_nothing(scene: Any) -> None:
    plan = make_plan(*scene("domain", "70B"))

    assert not any("first_stage" in candidate.parameters for candidate in plan.candidates)
    assert any(warning.rule == "first-stage-does-not-fit" for warning in plan.warnings)


def test_the_plan_says_what_reading_takes(scene: Any) -> None:
    plan = make_plan(*scene("domain", "smollm2", text=TEXT))

    (note,) = plan.candidates[0].stage_notes
    assert "160,000 tokens of 449 documents" in note
    assert "with full" in note


def test_another_text_under_the_same_name_makes_another_run(scene: Any) -> None:
    runs = [
        identity(*scene("domain", text=text))
        for text in (TEXT, TEXT, TEXT.model_copy(update={"sha256": "b"}))
    ]

    assert all(run is not None for run in runs)
    texts = [run.features[NAME] for run in runs if run is not None]
    assert texts[0] == texts[1] != texts[2]


def test_bases_are_named_once_for_each_way_to_read(scene: Any) -> None:
    candidate = make_plan(*scene("domain", "smollm2", text=TEXT)).candidates[0]

    def bases(**changes: Any) -> set[str]:
        return set(_bases(candidate.model_copy(update=changes)))

    # Two ways, each at its own three rates, the same for every strategy.
    assert len(bases()) == 2 * 3
    assert bases() == bases(strategy="other")
    half = candidate.setup.model_copy(update={"precision": "fp16-mixed"})
    assert not bases() & bases(setup=half)
