import math

import pytest

from sweeper.facts.models.model import model_facts
from sweeper.memory.estimate import estimate
from sweeper.memory.setup import Setup
from sweeper.spec import ModelSpec
from tests.features.review.configurations import AXOLOTL, LITGPT, LLAMA_FACTORY, PEFT, TRL, kinds

LARGE = AXOLOTL.replace("Qwen/Qwen2.5-0.5B", "meta-llama/Llama-3.1-8B")


def test_the_memory_is_that_of_the_formula_for_the_same_set_up(review):
    made = review(LARGE, hardware__gpu_memory_gib=80)
    setup = Setup(
        strategy="lora",
        micro_batch=2,
        sequence_length=1024,
        padded=True,
        gradient_accumulation_steps=8,
        r=16,
        widened_inputs=True,
    )
    expected = estimate(model_facts(ModelSpec(id="meta-llama/Llama-3.1-8B")), setup, 80.0)
    assert made.memory == expected
    assert made.fits is True


@pytest.mark.parametrize(
    ("text", "lines", "less"),
    [
        (LARGE, "gradient_checkpointing: true", True),
        (LARGE, "liger_fused_linear_cross_entropy: true", True),
        (LARGE, "lora_r: 64", False),
        (LARGE, "sequence_len: 512", True),
        (LARGE, "optimizer: adamw_bnb_8bit", True),
        (LLAMA_FACTORY, "quantization_bit: 4", True),
        (LLAMA_FACTORY, "disable_gradient_checkpointing: true", False),
        (TRL, "dtype: bfloat16", True),
    ],
)
def test_a_setting_changes_the_memory_as_it_should(review, text, lines, less):
    key = lines.partition(":")[0]
    changed = "\n".join(line for line in text.splitlines() if not line.startswith(f"{key}:"))
    before = review(text).memory.peak_gib
    assert (review(f"{changed}\n{lines}\n").memory.peak_gib < before) is less


def test_what_does_not_fit_is_an_error_with_changes_after_which_it_fits(review):
    made = review(LARGE, hardware__gpu_memory_gib=16, data__examples=5000)
    found = kinds(made)["does-not-fit"]
    assert (made.fits, found.level, made.seconds) == (False, "error", None)
    assert found.change == {
        "gradient_checkpointing": True,
        "micro_batch_size": 1,
        "gradient_accumulation_steps": 16,
        "adapter": "qlora",
        "load_in_4bit": True,
    }
    text = LARGE.replace("adapter: lora", "adapter: qlora\nload_in_4bit: true")
    text = text.replace("micro_batch_size: 2", "micro_batch_size: 1\ngradient_checkpointing: true")
    text = text.replace("gradient_accumulation_steps: 8", "gradient_accumulation_steps: 16")
    assert review(text, hardware__gpu_memory_gib=16).fits is True


def test_what_no_change_makes_fit_has_none(review):
    made = review(LARGE.replace("Llama-3.1-8B", "Llama-3.1-70B"), hardware__gpu_memory_gib=8)
    assert kinds(made)["does-not-fit"].change == {}


def test_steps_time_and_price_follow_from_rows_batch_and_gpus(review):
    flags = {"hardware__gpu": "A100 80GB", "hardware__price_per_gpu_hour": 2.0}
    made = review(AXOLOTL, data__examples=1600, **flags)
    # 1,600 rows less 5% for validation, two epochs in batches of 16.
    assert made.steps == 190
    assert made.seconds is not None
    assert made.seconds.low < made.seconds.seconds < made.seconds.high
    assert made.cost_usd is not None
    assert made.cost_usd[1] == pytest.approx(made.seconds.seconds * 2 / 3600, rel=0.01)
    twice = review(AXOLOTL, data__examples=3200, **flags)
    assert twice.seconds.seconds == pytest.approx(2 * made.seconds.seconds, rel=0.02)
    on_four = review(AXOLOTL, data__examples=1600, hardware__gpus=4, **flags)
    assert on_four.steps == 48
    stated = review(AXOLOTL + "max_steps: 7\n", **flags)
    assert stated.steps == 7


def test_packed_rows_are_fewer(review):
    flags = {"data__examples": 1600, "hardware__gpu_memory_gib": 24}
    packed = AXOLOTL + "sample_packing: true\nattn_implementation: sdpa\n"
    assert review(packed, **flags).steps < review(AXOLOTL, **flags).steps / 2


def test_without_a_gpu_nothing_is_said_about_fitting(review):
    made = review(AXOLOTL, data__examples=1600)
    assert made.memory is not None
    assert (made.fits, made.seconds, made.steps) == (None, None, 190)


@pytest.mark.parametrize(
    "text",
    [
        LLAMA_FACTORY.replace("finetuning_type: lora", "finetuning_type: oft"),
        LLAMA_FACTORY.replace("stage: sft", "stage: dpo"),
        AXOLOTL + "deepspeed: zero3.json\n",
        LITGPT.replace("devices: 1", "devices: 4"),
        LITGPT.replace("Qwen2.5-0.5B", "a-model-of-nobody"),
        PEFT,
    ],
)
def test_what_the_formula_does_not_cover_is_not_estimated_and_the_reason_is_given(review, text):
    made = review(text, "adapter_config.json" if text == PEFT else "config.yaml",
                  hardware__gpu_memory_gib=1, data__examples=100)  # fmt: skip
    assert (made.memory, made.fits, made.seconds) == (None, None, None)
    assert any("not estimated" in one for one in made.assumed)


def test_gains_save_time_and_fit(review):
    text = LARGE + "gradient_checkpointing: true\n"
    made = review(text, hardware__gpu_memory_gib=80, data__examples=5000)
    assert [one.saved for one in made.gains] == sorted((g.saved for g in made.gains), reverse=True)
    best = next(one for one in made.gains if "gradient_checkpointing" in one.change)
    assert best.change == {"gradient_checkpointing": False}
    changed = text.replace("gradient_checkpointing: true", "gradient_checkpointing: false")
    after = review(changed, hardware__gpu_memory_gib=80, data__examples=5000)
    assert best.saved == pytest.approx(1 - after.seconds.seconds / made.seconds.seconds, abs=0.001)
    assert after.fits is True
    assert review(text, hardware__gpu_memory_gib=22, data__examples=5000).gains == ()


@pytest.mark.parametrize(
    ("text", "rows", "steps"),
    [
        (LITGPT, 2 * 1000, 2 * 118),  # Alpaca2k holds out 5%: 1,900 rows, 950 batches of 2
        (TRL, 1900, math.ceil(2 * 1900 / 16)),
        (LITGPT.replace("litgpt.data.Alpaca2k", "mine"), 1903, 2 * 119),
        (LITGPT.replace("litgpt.data.Alpaca2k", "mine"), 1906, 2 * 119),
    ],
)
def test_an_epoch_of_litgpt_ends_with_its_last_whole_batch(review, text, rows, steps):
    assert review(text, data__examples=rows).steps == steps
