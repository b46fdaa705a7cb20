"""A configuration reads back as the trial that it was written from, or the difference is said."""

import ast
import json
import re
from pathlib import Path

import pytest
import yaml

from sweeper.errors import DataError, UsageError
from sweeper.features.exporting._configuration import export_configuration, targets
from sweeper.findings.compute import compute
from sweeper.plans import Parameter, Plan
from sweeper.steps.winner import refit_config
from sweeper.trials import BaseRef, TrialConfig, TrialResult

# Key of the trainer: attribute of the trial, or its parameter.
KEYS = {
    "axolotl": {
        "learning_rate": "learning_rate",
        "micro_batch_size": "micro_batch",
        "gradient_accumulation_steps": "gradient_accumulation_steps",
        "sequence_len": "sequence_length",
        "weight_decay": "weight_decay",
        "lr_scheduler": "lr_scheduler_type",
        "gradient_checkpointing": "gradient_checkpointing",
        "seed": "seed",
        "lora_r": "r",
        "lora_alpha": "lora_alpha",
        "lora_dropout": "lora_dropout",
        "peft_use_rslora": "use_rslora",
    },
    "llama-factory": {
        "learning_rate": "learning_rate",
        "per_device_train_batch_size": "micro_batch",
        "gradient_accumulation_steps": "gradient_accumulation_steps",
        "cutoff_len": "sequence_length",
        "weight_decay": "weight_decay",
        "lr_scheduler_type": "lr_scheduler_type",
        "seed": "seed",
        "lora_rank": "r",
        "lora_alpha": "lora_alpha",
        "lora_dropout": "lora_dropout",
    },
    "trl": {
        "learning_rate": "learning_rate",
        "per_device_train_batch_size": "micro_batch",
        "gradient_accumulation_steps": "gradient_accumulation_steps",
        "max_length": "sequence_length",
        "weight_decay": "weight_decay",
        "lr_scheduler_type": "lr_scheduler_type",
        "gradient_checkpointing": "gradient_checkpointing",
        "seed": "seed",
        "lora_r": "r",
        "lora_alpha": "lora_alpha",
        "lora_dropout": "lora_dropout",
    },
    "litgpt": {
        "train.micro_batch_size": "micro_batch",
        "train.max_seq_length": "sequence_length",
        "optimizer.init_args.lr": "learning_rate",
        "optimizer.init_args.weight_decay": "weight_decay",
        "seed": "seed",
        "lora_r": "r",
        "lora_alpha": "lora_alpha",
        "lora_dropout": "lora_dropout",
    },
}


def export(run, to: str, number: int = 0):
    config = refit_config(run, number)
    return export_configuration(run, compute(run), config, to, run.path / f"{to}-{number}")


def value(config: TrialConfig, name: str):
    if name in config.parameters:
        return config.parameters[name]
    return getattr(config.setup if hasattr(config.setup, name) else config, name)


def found(read: dict, key: str):
    for part in key.split("."):
        read = read[part]
    return read


@pytest.mark.parametrize("to", KEYS)
def test_every_mapped_key_reads_back_as_the_value_of_the_trial(finished, questions, to):
    run = finished(questions, "--task", "instruction", learning_rate=2e-5)
    for number, strategy in enumerate(("lora", "full")):
        made = export(run, to, number)
        config = refit_config(run, number)
        read = yaml.safe_load((made.folder / f"{to}.yaml").read_text())
        keys = [
            key for key in KEYS[to] if strategy == "lora" or not key.startswith(("lora", "peft"))
        ]
        assert {key: found(read, key) for key in keys} == {
            key: value(config, KEYS[to][key]) for key in keys
        }
        assert isinstance(found(read, keys[0]), int | float)


@pytest.mark.parametrize("to", targets())
def test_files_name_no_folder_of_this_machine_and_hold_the_split(finished, questions, to):
    run = finished(questions, "--task", "instruction")
    made = export(run, to)
    for path in made.folder.rglob("*"):
        if path.is_file():
            text = path.read_text()
            assert str(run.path.resolve()) not in text
            assert str(Path.home()) not in text or str(Path.home()) == "/"
            if path.suffix == ".py":
                ast.parse(text)
    names = targets()[to].split_names
    rows = {
        split: (made.folder / "data" / f"{names.get(split, split)}.jsonl").read_text().splitlines()
        for split in ("train", "validation")
    }
    assert len(rows["train"]) > len(rows["validation"]) > 0
    assert "What is" in rows["train"][0]
    assert not (made.folder / "data" / "test.jsonl").exists()  # its seal is not open


def test_warmup_is_a_whole_number_of_steps_and_dataset_info_names_the_files(finished, questions):
    run = finished(questions, "--task", "instruction")
    folder = export(run, "llama-factory").folder
    read = yaml.safe_load((folder / "llama-factory.yaml").read_text())
    assert isinstance(read["warmup_steps"], int)
    assert "warmup_ratio" not in read
    registry = json.loads((folder / "dataset_info.json").read_text())
    for name in (read["dataset"], read["eval_dataset"]):
        assert (folder / registry[name]["file_name"]).is_file()


@pytest.mark.parametrize("to", targets())
def test_every_setting_with_an_effect_is_written_or_reported(finished, questions, to):
    run = finished(
        questions, "--task", "instruction", kl_weight=0.1, layerwise_lr_decay=0.9, use_dora=True
    )
    made = export(run, to)
    lost = {one.setting: one for one in made.lost}
    assert {"kl_weight", "layerwise_lr_decay"} <= set(lost)
    written = "".join(p.read_text() for p in made.folder.iterdir() if p.suffix in (".yaml", ".py"))
    assert ("use_dora" in lost) != bool(re.search(r"use_dora: true", written))
    for one in made.lost:
        assert f"`{one.setting}`" in (made.folder / "README.md").read_text()


def test_a_strategy_that_a_trainer_lacks_is_refused_with_the_nearest_trial(finished, questions):
    run = finished(questions, "--task", "instruction", strategies="prefix,full,lora")
    with pytest.raises(UsageError) as refused:
        export(run, "axolotl")
    assert "cannot train trial 0: prefix" in str(refused.value)
    assert "The best such trial is 1 (full): --trial 1." in str(refused.value)
    assert not (run.path / "axolotl-0").exists()


def test_a_classification_head_is_refused_and_a_generated_label_is_not(finished):
    rows = [{"text": f"the {w} number {n}", "label": w} for n in range(60) for w in ("tin", "oak")]
    with pytest.raises(UsageError):
        export(finished(rows, "--task", "classification"), "trl")


def test_labels_that_are_generated_are_exported_as_questions(finished):
    rows = [{"text": f"the {w} number {n}", "label": w} for n in range(60) for w in ("tin", "oak")]
    run = finished(rows, "--task", "classification", "--classes-by", "generate")
    first = json.loads((export(run, "trl").folder / "data/train.jsonl").read_text().splitlines()[0])
    assert first["prompt"][0]["content"].startswith("Which class does this text belong to")
    assert first["completion"][0]["content"] in ("tin", "oak")


def test_plain_text_is_exported_as_text_and_refused_where_nobody_reads_it(finished):
    rows = [{"text": f"Paragraph {n} about rivers and their {n} bridges."} for n in range(90)]
    run = finished(rows, "--task", "domain")
    assert json.loads((export(run, "trl").folder / "data/train.jsonl").read_text().splitlines()[0])[
        "text"
    ].startswith("Paragraph")
    with pytest.raises(UsageError, match="LitGPT"):
        export(run, "litgpt")


def test_conversations_with_several_answers_keep_all_of_them(finished):
    rows = [
        {
            "messages": [
                {"role": role, "content": f"{role} says {n} {k}"}
                for k in range(2)
                for role in ("user", "assistant")
            ]
        }
        for n in range(90)
    ]
    run = finished(rows, "--task", "instruction")
    folder = export(run, "trl").folder
    assert yaml.safe_load((folder / "trl.yaml").read_text())["assistant_only_loss"] is True
    first = json.loads((folder / "data/train.jsonl").read_text().splitlines()[0])
    assert [turn["role"] for turn in first["messages"]] == ["user", "assistant"] * 2
    with pytest.raises(UsageError):
        export(run, "litgpt")
    assert not (run.path / "litgpt-0").exists()


def test_answers_of_weight_0_are_refused(finished):
    messages = [{"role": role, "content": role} for role in ("user", "assistant") * 2]
    messages[1]["weight"] = 0
    rows = [{"messages": [{"role": "system", "content": f"{n}"}, *messages]} for n in range(90)]
    run = finished(rows, "--task", "instruction")
    for to in ("trl", "axolotl", "llama-factory", "litgpt"):
        with pytest.raises(UsageError):
            export(run, to)


def test_other_rows_and_a_folder_that_exists_are_refused(finished, questions):
    run = finished(questions, "--task", "instruction")
    made = export(run, "trl")
    with pytest.raises(UsageError, check=lambda error: error.code == "folder-exists"):
        export(run, "trl")
    assert (made.folder / "trl.yaml").is_file()
    Path("rows.jsonl").write_text(json.dumps({"instruction": "Hi?", "output": "Ho."}) + "\n")
    with pytest.raises(DataError):
        export(run, "axolotl")


def test_a_trial_on_a_base_that_was_made_for_it_is_refused(finished, questions):
    run = finished(questions, "--task", "instruction")
    export(run, "trl", 1)
    path = run.trial(0) / "result.json"
    base = BaseRef(folder="bases/ab12", state="0f")
    TrialResult.read(path).model_copy(update={"base": base}).write(path)
    with pytest.raises(UsageError, check=lambda error: error.code == "base-in-run"):
        export(run, "trl")


def test_a_parameter_at_its_off_value_is_not_exported(finished, questions):
    run = finished(questions, "--task", "instruction", extra="none", other="none")
    plan = Plan.read(run.plan)
    extra = Parameter(
        kind="categorical", choices=("none",), default="none", off_value="none", source="a test"
    )
    candidates = [
        one.model_copy(update={"parameters": {**one.parameters, "extra": extra}})
        for one in plan.candidates
    ]
    plan.model_copy(update={"candidates": tuple(candidates)}).write(run.plan)
    lost = {one.setting for one in export(run, "trl").lost}
    assert "other" in lost
    assert "extra" not in lost


def test_an_unknown_trainer_is_refused_with_the_nearest_name(finished, questions):
    run = finished(questions, "--task", "instruction")
    with pytest.raises(UsageError, check=lambda error: error.code == "unknown-trainer"):
        export(run, "axoltl")


@pytest.mark.parametrize(
    ("precision", "dtype", "bf16", "fp16"),
    [
        ("fp32", "float32", False, False),
        ("bf16-mixed", "bfloat16", True, False),
        ("fp16-mixed", "float16", False, True),
    ],
)
def test_the_precision_is_that_of_the_trial(finished, questions, precision, dtype, bf16, fp16):
    run = finished(questions, "--task", "instruction")
    config = refit_config(run, 0).with_setup(precision=precision)
    made = export_configuration(run, compute(run), config, "trl", run.path / "trl")
    read = yaml.safe_load((made.folder / "trl.yaml").read_text())
    assert (read["dtype"], read["bf16"], read["fp16"]) == (dtype, bf16, fp16)


def test_the_rows_of_a_curated_run_are_exported_and_the_card_says_so(finished, questions):
    run = finished([*questions, *questions[:3]], "--task", "instruction", "--fix")
    folder = export(run, "trl").folder
    counts = [
        len((folder / "data" / f"{split}.jsonl").read_text().splitlines())
        for split in ("train", "validation")
    ]
    assert counts == [84, 18]
    card = (folder / "README.md").read_text()
    assert "after changes (duplicates: 3 rows left out); data_changes.jsonl" in card


def test_augmented_rows_that_the_trial_trained_on_are_exported_at_the_same_steps(
    finished, questions
):
    new = [
        {"instruction": f"Add up number {n} and the one after it!", "output": f"That is {n}."}
        for n in range(1000, 1042)
    ]
    marked = [{**row, "augmentation_method": "paraphrase"} for row in new]
    run = finished([*questions, *marked], "--task", "instruction", strategies="lora")
    config = TrialConfig.read(run.trial(0) / "config.json")
    assert config.parameters["augmented_rows"] == "all"
    folder = export(run, "trl").folder
    rows = (folder / "data" / "train.jsonl").read_text().splitlines()
    assert len(rows) == 84 + 42
    held_out = (folder / "data" / "validation.jsonl").read_text()
    assert "Add up number" not in held_out
    assert (
        "Of the rows of train, 42 are augmented (paraphrase)." in (folder / "README.md").read_text()
    )
    read = yaml.safe_load((folder / "trl.yaml").read_text())
    assert read["num_train_epochs"] == pytest.approx(config.budget.epochs * 84 / 126, rel=1e-3)
