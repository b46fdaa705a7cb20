import json
from pathlib import Path

import pytest

from sweeper.planning.rulebook.book import rule_book
from tests.features.review.configurations import AXOLOTL, LITGPT, SOUND, TRL, kinds


@pytest.mark.parametrize(
    ("rate", "level"), [("2e-5", "warning"), ("5e-5", "note"), ("2e-4", ""), ("5e-3", "warning")]
)
def test_a_rate_outside_of_the_evidence_has_the_range_and_its_source(review, rate, level):
    made = review(AXOLOTL.replace("learning_rate: 2e-4", f"learning_rate: {rate}"))
    found = kinds(made).get("outside-evidence")
    assert (found.level if found else "") == level
    if found:
        assert (found.fields, found.line, found.value) == (("learning_rate",), 13, float(rate))
        rule = next(one for one in rule_book().rules if one.id == found.rule)
        assert found.source == rule.source
        assert found.low < 2e-4 < found.high
        assert found.low <= found.change["learning_rate"] <= found.high


def test_the_trainers_own_default_is_judged_too(review):
    text = "\n".join(line for line in TRL.splitlines() if "learning_rate" not in line)
    found = kinds(review(text))["outside-evidence"]
    assert (found.line, found.value, found.level) == (0, 2e-5, "warning")
    assert found.low <= found.change["learning_rate"] <= found.high


def test_the_evidence_depends_on_the_model_and_on_the_rows(review):
    small = AXOLOTL.replace("Qwen/Qwen2.5-0.5B", "HuggingFaceTB/SmolLM2-135M")
    small = small.replace("learning_rate: 2e-4", "learning_rate: 1.5e-3")
    assert "outside-evidence" not in kinds(review(small))
    assert "outside-evidence" in kinds(review(small.replace("SmolLM2-135M", "SmolLM2-1.7B")))


@pytest.mark.parametrize(
    ("model", "rate", "expected"),
    [
        ("Qwen/Qwen2.5-7B", "5e-6", None),
        ("Qwen/Qwen2.5-3B", "5e-6", None),
        ("Qwen/Qwen2.5-7B", "3e-6", ("note", 5e-6, 5e-5, 1e-5)),
        ("Qwen/Qwen2.5-0.5B", "2e-4", ("note", 1e-5, 9.4e-5, 4e-5)),
        ("meta-llama/Llama-2-70b-hf", "2e-5", None),
        ("HuggingFaceTB/SmolLM2-1.7B", "3e-4", None),
        ("HuggingFaceTB/SmolLM2-1.7B", "1e-3", ("warning", 7e-6, 3e-4, 2e-5)),
        ("HuggingFaceTB/SmolLM2-360M", "1e-3", None),
    ],
)
def test_rates_of_published_full_recipes_are_inside_the_evidence(review, model, rate, expected):
    text = "".join(line for line in AXOLOTL.splitlines(True) if "lora" not in line)
    text = text.replace("Qwen/Qwen2.5-0.5B", model).replace("2e-4", rate)
    finding = kinds(review(text)).get("outside-evidence")
    change = finding and finding.change["learning_rate"]
    assert expected == (finding and (finding.level, finding.low, finding.high, change))


def test_a_rate_that_is_never_reached_is_not_judged(review):
    text = LITGPT.replace("lr: 0.0002", "lr: 0.02")
    assert "outside-evidence" in kinds(review(text))
    text = text.replace("lr_warmup_steps: 10", "lr_warmup_steps: 1000")
    assert "outside-evidence" not in kinds(review(text))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("axolotl", "optimizer: adamw_torch_fused", "optimizer: muon"),
        ("axolotl", "adapter: lora", "adapter: lora\nrl: dpo"),
        ("llama-factory", "stage: sft", "stage: dpo"),
    ],
)
def test_evidence_for_another_way_of_training_is_not_applied(review, name, old, new):
    file, text = SOUND[name]
    text = text.replace(old, new).replace("2e-4", "1e-2").replace("2.0e-4", "1e-2")
    assert "outside-evidence" not in kinds(review(text, file))


def test_the_batch_is_judged_where_the_number_of_gpus_is_known(review):
    text = AXOLOTL.replace("gradient_accumulation_steps: 8", "gradient_accumulation_steps: 1")
    assert "outside-evidence" not in kinds(review(text))
    found = kinds(review(text, hardware__gpu_memory_gib=24))["outside-evidence"]
    assert (found.value, found.low, found.high) == (2, 8, 32)


def test_faults_of_the_data_are_findings(review):
    rows = [{"prompt": f"question {n % 20}?", "completion": f"answer {n % 20}"} for n in range(60)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = review(AXOLOTL, data__path="rows.jsonl")
    assert any(one.kind == "data" and "rows.jsonl" in one.file for one in made.findings)
