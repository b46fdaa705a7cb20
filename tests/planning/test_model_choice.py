"""Which of the catalogue's models a plan without --model takes, and what it says of the others."""

from __future__ import annotations

from functools import cache

import pytest

from sweeper.errors import ModelError, NothingFits, SpecError
from sweeper.facts.gather import gather
from sweeper.facts.models.catalogue import entries
from sweeper.facts.models.model import available_models, catalogue_facts
from sweeper.planning.model_choice import comparison, plan_without_model
from sweeper.specfile import resolve, settings


@cache
def plan(task="classification", rows=2000, gib=24.0, **flags):
    given = {
        ("task",): task,
        ("data", "examples"): rows,
        ("hardware", "gpu_memory_gib"): gib,
        **{("aim", name): value for name, value in flags.items()},
    }
    spec = resolve(given, needs_model=False)
    models = tuple(catalogue_facts(name) for name in comparison().models_of(task))
    return plan_without_model(spec, gather(spec, models=models))


def test_every_compared_model_is_in_the_catalogue_and_every_score_is_of_one():
    file = comparison()
    variants = [name for one in file.variants for name in one.models]
    assert set(file.models) <= entries().keys()
    assert {catalogue_facts(name).context_length for name in variants} == {32_768}
    assert all(measure.date and measure.source for measure in file.measures)
    assert all(set(measure.scores) <= set(file.models) for measure in file.measures)
    sizes = sorted(catalogue_facts(name).parameters for name in file.models)
    assert sizes[0] < 0.03e9
    assert sizes[-1] > 60e9


def test_an_encoder_is_taken_for_classes_and_a_decoder_for_text():
    spec, made = plan()
    assert made.model_choice.model == spec.models[0].id == made.facts.models[0].id
    assert made.facts.models[0].kind == "encoder"
    assert "model-kind" in {reason.rule for reason in made.model_choice.reasons}
    assert plan("instruction")[1].facts.models[0].kind == "decoder"


def test_every_option_says_what_fits_or_why_nothing_does():
    choice = plan("instruction")[1].model_choice
    assert {one.model for one in choice.options} == set(comparison().models)
    assert all(bool(one.strategies) != bool(one.reason) for one in choice.options)
    encoder = next(one for one in choice.options if one.kind == "encoder")
    assert "cannot write" in encoder.reason
    assert any(one.scores for one in choice.options)


def test_every_size_that_fits_is_priced():
    choice = plan("instruction")[1].model_choice
    assert choice.model == "Qwen/Qwen3-8B"
    seconds = {one.model: one.search.seconds for one in choice.options if one.search}
    order = [seconds[f"Qwen/Qwen3-{size}"] for size in ("4B", "8B", "14B", "32B")]
    assert order == sorted(order)


def test_more_memory_never_makes_the_recommended_model_smaller():
    sizes = [plan("instruction", gib=gib)[1].facts.models[0].parameters for gib in (6, 12, 24, 80)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_more_data_never_make_it_larger():
    sizes = [
        plan("code", rows, 80.0)[1].facts.models[0].parameters for rows in (1000, 10**5, 10**7)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1]


def test_a_budget_replaces_the_limit_in_hours():
    short = plan("instruction", budget="1h")[1].facts.models[0].parameters
    assert short < plan("instruction", budget="40h")[1].facts.models[0].parameters


@pytest.mark.parametrize("rows", [2_000, 20_000])
def test_a_budget_beyond_the_limit_in_hours_gives_no_smaller_model(rows):
    sizes = [
        plan("instruction", rows, **flags)[1].facts.models[0].parameters
        for flags in ({}, {"budget": "48h"}, {"budget": "96h"})
    ]
    assert sizes == sorted(sizes)


def test_where_none_of_them_fits_the_smallest_says_why():
    with pytest.raises(NothingFits, match="13"):
        plan("instruction", gib=0.3)


def test_declared_modules_leave_out_the_models_that_lack_them():
    def declared(modules):
        asked = {("task",): "instruction", ("data", "examples"): 2000}
        asked |= {("hardware", "gpu_memory_gib"): 24.0}
        asked |= settings([f"lora.target_modules=[{modules}]"])
        spec = resolve(asked, needs_model=False)
        models = tuple(catalogue_facts(name) for name in comparison().models)
        return plan_without_model(spec, gather(spec, models=models))

    assert declared("q_proj, v_proj")[1].model_choice.model.startswith("Qwen/")
    with pytest.raises(SpecError, match="nowhere"):
        declared("nowhere")


def test_a_model_is_priced_by_its_recommended_strategy():
    made = plan("instruction", rows=10_000, gib=80.0)[1]
    chosen = next(one for one in made.model_choice.options if one.model == made.model_choice.model)
    lead = made.candidates[0]
    assert chosen.search.seconds == pytest.approx(made.budget.trials * lead.duration.seconds)
    slowest = max(one.duration.seconds for one in made.candidates)
    assert slowest > 1.05 * lead.duration.seconds


def test_a_base_model_is_not_offered_to_follow_instructions_where_its_tuned_one_is():
    assert "meta-llama/Llama-3.3-70B-Instruct" in comparison().models
    assert "meta-llama/Llama-3.1-70B" not in comparison().models


def test_a_variant_for_code_is_taken_for_code_alone():
    for rows, gib, model in ((5_000, 24.0, "7B"), (200_000, 24.0, "7B"), (10_000, 80.0, "14B")):
        chosen = plan("code", rows, gib)[1].model_choice.model
        assert chosen == f"Qwen/Qwen2.5-Coder-{model}-Instruct"
    options = plan("instruction", 5000)[1].model_choice.options
    assert not any("Coder" in option.model for option in options)


@pytest.mark.parametrize("rows", [200_000, 1_000_000])
def test_a_variant_is_kept_where_a_sweep_takes_little_more_than_the_limit(rows):
    code, made = plan("code", rows)[1], plan("instruction", rows)[1]
    assert "Coder" in code.model_choice.model
    for each in (code, made):
        assert each.budget.sweep.seconds <= 1.35 * 24 * 3600
        assert each.budget.train_rows is not None


def test_a_processor_without_a_gpu_gets_the_fastest_model_where_all_take_long():
    choice = plan("classification", 90, None)[1].model_choice
    taken = next(one for one in choice.options if one.model == choice.model)
    assert taken.parameters < 100e6
    assert taken.search.seconds == min(
        one.search.seconds for one in choice.options if one.kind == taken.kind and one.search
    )


def test_without_a_hub_only_what_is_on_this_machine_is_offered(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    ids = [one.id for one in available_models(comparison().models)]
    assert ids == ["packaged:minilm", "packaged:smollm2"]
    monkeypatch.setattr("sweeper.facts.models.model.package_folder", lambda _model: None)
    with pytest.raises(ModelError):
        available_models(comparison().models)
