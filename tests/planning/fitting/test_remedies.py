from __future__ import annotations

import re
from typing import Any

import pytest

from sweeper.memory.estimate import estimate
from sweeper.memory.setup import Setup
from sweeper.planning.costs.corrections import MemoryFactors
from sweeper.planning.fitting.remedies import remedies, scaled
from sweeper.plans import Remedy

EXACT = MemoryFactors(1.0, 1.0)


def found(scene: Any, gib: float, setup: Setup, **facts: Any) -> tuple[list[Remedy], Any]:
    _, gathered = scene(gpu_gib=gib, **facts)
    return remedies(gathered.models[0], setup, gathered.hardware, EXACT), gathered


def text_of(found: list[Remedy], kind: str) -> str:
    return next(one.text for one in found if one.kind == kind)


def test_the_cheapest_change_comes_first(scene: Any) -> None:
    setup = Setup(strategy="lora", r=256, micro_batch=1, gradient_checkpointing=True)
    _, facts = scene()
    need = estimate(facts.models[0], setup, 80.0).high_gib
    texts, _ = found(scene, need - 1.0, setup)
    assert texts[0].kind == "rank"
    assert "gpus" in {one.kind for one in texts}


def test_a_gpu_that_would_fit_is_named_with_cards_of_its_size(scene: Any) -> None:
    setup = Setup(
        strategy="lora", precision="bf16-pure", micro_batch=1, gradient_checkpointing=True
    )
    texts, _ = found(scene, 24.0, setup, model="70B")
    assert text_of(texts, "gpus") == "a GPU with 179.1 GiB (B100, B200)"
    # Cards without bfloat16 do not take a set-up in it.
    small = Setup(strategy="lora", precision="bf16-pure", micro_batch=1)
    texts, _ = found(scene, 12.0, small, model="7B")
    named = text_of(texts, "gpus")
    assert "V100" not in named
    assert "P100" not in named


def test_a_gpu_of_nearly_the_same_memory_is_named_with_more_of_it(scene: Any) -> None:
    setup = Setup(strategy="lora", precision="bf16-pure", micro_batch=1, r=16)
    need = estimate(scene()[1].models[0], setup, 22.4).high_gib
    model = scene()[1].models[0]
    while not 22.0 < need <= 22.4:
        longer = setup.sequence_length + (8 if need <= 22.0 else -8)
        setup = setup.replace(sequence_length=longer)
        need = estimate(model, setup, 22.4).high_gib
    texts, _ = found(scene, 22.0, setup)
    assert text_of(texts, "gpus") == "a GPU with 22.5 GiB (A10, A10G, L4)"


def test_earlier_trials_that_needed_more_raise_the_memory_that_a_remedy_names(scene: Any) -> None:
    setup = Setup(strategy="full", precision="fp32", device="cpu")
    _, facts = scene(gpu_gib=None)
    sizes = []
    for ends in (EXACT, MemoryFactors(1.0, 3.0)):
        text = text_of(remedies(facts.models[0], setup, facts.hardware, ends), "machine")
        sizes.append(int(re.findall(r"\d+", text)[0]))
    assert sizes[1] > 2 * sizes[0]


def test_shorter_texts_are_offered_when_they_help(scene: Any) -> None:
    setup = Setup(strategy="full", sequence_length=4096, precision="fp32", micro_batch=1)
    _, facts = scene(model="smollm2")
    need = estimate(facts.models[0], setup, 80.0).high_gib
    texts, _ = found(scene, need * 0.8, setup, model="smollm2")
    assert text_of(texts, "length") == "texts cut at 2048 tokens"


@pytest.mark.parametrize("share", [0.05, 0.3, 1.0])
def test_a_smaller_model_has_the_same_shape(scene: Any, share: float) -> None:
    model = scene()[1].models[0]
    small = scaled(model, share)
    assert small.parameters == pytest.approx(model.parameters * share, rel=0.001)
    assert small.layers <= model.layers
    ratio = small.intermediate_size / small.hidden_size
    assert ratio == pytest.approx(model.intermediate_size / model.hidden_size, rel=0.05)


def test_a_model_that_would_fit_is_named_and_fits(scene: Any) -> None:
    setup = Setup(strategy="full", precision="bf16-pure", micro_batch=1)
    texts, facts = found(scene, 24.0, setup)
    sized = text_of(texts, "model")
    billions = float(sized.split("up to ")[1].split("B")[0])
    share = billions * 0.95e9 / facts.models[0].parameters
    assert estimate(scaled(facts.models[0], share), setup, 24.0).high_gib <= 24.0


def test_the_size_of_a_model_is_written_without_an_exponent(scene: Any) -> None:
    setup = Setup(strategy="lora", precision="bf16-pure", micro_batch=1)
    _, facts = scene()
    model = facts.models[0].model_copy(update={"parameters": 405_000_000_000})
    wide = facts.hardware.model_copy(update={"memory_gib": 280.0})
    sized = text_of(remedies(model, setup, wide, EXACT), "model")
    assert re.fullmatch(r"a model of the same shape with up to [1-9]\d0B parameters", sized)


def test_a_cpu_is_told_how_much_memory_it_lacks(scene: Any) -> None:
    setup = Setup(strategy="full", precision="fp32", device="cpu")
    _, facts = scene(gpu_gib=None)
    kinds = {one.kind for one in remedies(facts.models[0], setup, facts.hardware, EXACT)}
    assert "machine" in kinds
    assert "gpus" not in kinds
