import json
import subprocess
from pathlib import Path

import pytest
import yaml

from sweeper.features.review._reading import read
from sweeper.features.review._review import changed_text, diff
from tests.features.review.configurations import AXOLOTL, LITGPT, PEFT, TRL
from tests.features.review.test_checks import CASES, with_lines

SCRIPT = "trl sft --model_name_or_path gpt2 \\\n  --learning_rate 1e-5 --lora-r=8 # rank\n"


def changed(name: str, text: str, **change) -> str:
    Path(name).write_text(text)
    field_lines = read(Path(name))[0].field_lines
    return changed_text(
        name, text, field_lines, {k.replace("__", "."): v for k, v in change.items()}
    )


def test_a_value_of_yaml_is_replaced_and_its_comment_stays(here):
    after = changed("a.yaml", AXOLOTL, lora_alpha=16, learning_rate=3e-5, adapter="qlora")
    assert "lora_alpha: 16  # twice the rank\n" in after
    loaded = yaml.safe_load(after)
    # PyYAML reads 3e-05 as text, and trainers use it.
    assert (loaded["learning_rate"], loaded["adapter"]) == (3e-5, "qlora")
    assert len(after.splitlines()) == len(AXOLOTL.splitlines())


def test_a_missing_field_is_added_at_the_end_or_among_its_siblings(here):
    assert yaml.safe_load(changed("a.yaml", AXOLOTL, load_in_4bit=True))["load_in_4bit"] is True
    after = changed("b.yaml", LITGPT, train__max_steps=100)
    assert yaml.safe_load(after)["train"]["max_steps"] == 100


def test_json_and_commands_are_changed(here):
    after = json.loads(changed("adapter_config.json", PEFT, lora_alpha=8, use_dora=True))
    assert (after["lora_alpha"], after["use_dora"], after["r"]) == (8, True, 16)
    after = changed("run.sh", SCRIPT, learning_rate=3e-4, lora_r=16)
    assert after == SCRIPT.replace("1e-5", "0.0003").replace("lora-r=8", "lora-r=16")


@pytest.mark.parametrize("value", ["[a, b]", "|\n  text", "&name x", "\n  - a"])
def test_a_value_over_several_lines_is_left_to_the_user(here, value):
    text = f"lora_target: {value}\nother: 1\n"
    assert changed_text("a.yaml", text, {"lora_target": 1}, {"lora_target": "all"}) == text


def test_the_patch_applies(here, review):
    made = review(AXOLOTL.replace("2e-4", "2e-6") + "tf32: true")
    Path("a.diff").write_text(made.patch)
    subprocess.run(["patch", "-p1", "-i", "a.diff"], check=True)
    again = review(Path("config.yaml").read_text())
    assert again.findings == ()


def test_a_line_that_only_yaml_counts_is_no_error(here):
    text = "a: '\u2028\u2028'\nlearning_rate: 1e-5"
    assert changed_text("a.yaml", text, {"learning_rate": 9}, {"learning_rate": 1e-4}) == text


def test_no_change_is_no_patch():
    assert diff("a.yaml", "a: 1\n", "a: 1\n") == ""


FAULTY = {
    **{f"{kind}-{number}": text for number, (kind, text, *_) in enumerate(CASES)},
    "several": with_lines(
        AXOLOTL, "learning_rate: 2e-6", "micro_batch_size: 64", "sequence_len: 100000",
        "sample_packing: true", "warmup_ratio: 1.5", "adapter:",
    ),
    "steps": with_lines(
        TRL, "max_steps: 50", "warmup_steps: 100", "eval_strategy: steps", "eval_steps: 500",
        "per_device_train_batch_size: 128", "learning_rate: 0.1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("gib", [6, 80])
@pytest.mark.parametrize("name", FAULTY)
def test_the_patched_file_reviews_without_a_further_patch(review, name, gib):
    file = "adapter_config.json" if FAULTY[name].startswith("{") else "config.yaml"
    flags = {"data__examples": 5000, "hardware__gpu_memory_gib": gib}
    made = review(FAULTY[name], file, **flags)
    if made.patch:
        Path("a.diff").write_text(made.patch)
        subprocess.run(["patch", "-p1", "-s", "-i", "a.diff"], check=True)
    assert review(Path(file).read_text(), file, **flags).patch == ""
