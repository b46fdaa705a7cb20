from pathlib import Path

import pytest

from sweeper.errors import UsageError
from sweeper.features.review._reading import MAX_CHARACTERS, read
from tests.features.review.configurations import AXOLOTL, SOUND, TORCHTUNE


def read_text(name: str, text: str | bytes):
    path = Path(name)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(path)


@pytest.mark.parametrize("name", SOUND)
def test_every_format_says_the_same_in_neutral_words(here, name):
    config = read_text(*SOUND[name])[0]
    training = config.training
    assert (config.format, config.unknown, config.problems) == (name, (), ())
    assert (training.method, training.stage) == ("lora", "sft")
    assert training.model is not None
    assert "Qwen2.5-0.5B" in training.model
    if name != "llama-factory":
        assert (training.r, training.lora_alpha) == (16, 32)
    if name != "peft":
        assert (training.learning_rate, training.num_train_epochs) == (2e-4, 2)
        assert training.micro_batch == 2
        assert training.sequence_length == 1024
        accumulated = (training.gradient_accumulation_steps or 1) * 2
        assert (training.global_batch or accumulated) == 16


@pytest.mark.parametrize(
    ("name", "field", "line", "value"),
    [
        ("axolotl", "lora_alpha", 4, 32),
        ("torchtune", "optimizer.lr", 17, 2e-4),
        ("litgpt", "train.epochs", 18, 2),
        ("peft", "r", 4, 16),
    ],
)
def test_a_value_has_its_line(here, name, field, line, value):
    config = read_text(*SOUND[name])[0]
    given = [one for some in config.file_values.values() for one in some if one.field == field]
    assert [(one.line, one.value) for one in given] == [(line, value)]


def test_flags_that_switch_layers_on_add_up(here):
    assert read_text("a.yaml", TORCHTUNE)[0].training.target_modules == (
        "q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    )  # fmt: skip
    litgpt = read_text(*SOUND["litgpt"])[0].training
    assert litgpt.target_modules == ("q_proj", "gate_proj", "up_proj", "down_proj")


def test_a_variable_that_the_trainer_fills_in_says_nothing(here):
    config = read_text("a.yaml", TORCHTUNE)[0]
    assert (config.training.evaluation_batch, config.problems) == (None, ())


def test_defaults_of_the_trainer_stand_where_the_file_has_none(here):
    training = read_text(*SOUND["llama-factory"])[0].training
    assert (training.r, training.gradient_checkpointing) == (8, True)
    assert training.prompt_loss is False


SCRIPT = """\
#!/bin/sh
MODEL=Qwen/Qwen2.5-0.5B
echo "start" --now
accelerate launch \\
trl sft --model_name_or_path ${MODEL} \\
    --dataset-name "stanfordnlp/imdb" \\
    --learning_rate=2e-4 --use_peft \\
    --lora_target_modules q_proj v_proj  # two
trl dpo --model_name_or_path $MODEL --learning_rate 1e-6 --beta 0.1
"""


def test_each_training_command_of_a_script_is_a_configuration(here):
    first, second = read_text("train.sh", SCRIPT)
    assert first.training.model == second.training.model == "Qwen/Qwen2.5-0.5B"
    assert first.training.train_data == ("stanfordnlp/imdb",)
    assert (first.training.method, second.training.stage) == ("lora", "preference")
    assert first.training.target_modules == ("q_proj", "v_proj")
    assert first.file_values["learning_rate"][0].line == 7


def test_calls_of_a_python_script_are_read_and_not_run(here):
    text = (
        "import os; os.mkdir('ran')\n"
        "args = SFTConfig(learning_rate=2e-4, per_device_train_batch_size=4,\n"
        "    num_train_epochs=EPOCHS, max_length=512)\n"
        "peft = LoraConfig(r=8, lora_alpha=16, target_modules=['q_proj'])\n"
    )
    config = read_text("train.py", text)[0]
    assert (config.training.method, config.training.r, config.training.micro_batch) == (
        "lora",
        8,
        4,
    )
    assert config.file_values["sequence_length"][0].line == 3
    assert "num_train_epochs" not in config.file_values
    assert not Path("ran").exists()


def test_a_value_of_another_type_is_named_and_the_rest_is_read(here):
    text = AXOLOTL.replace("learning_rate: 2e-4", "learning_rate: fast")
    config = read_text("a.yaml", text)[0]
    assert [(one.kind, one.fields, one.line) for one in config.problems] == [
        ("unreadable-value", ("learning_rate",), 13)
    ]
    assert config.training.num_train_epochs == 2


def test_unknown_fields_are_named(here):
    config = read_text("a.yaml", AXOLOTL + "no_such_field: 1\n")[0]
    assert config.unknown == ("no_such_field",)


BOMB = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("bomb.yaml", BOMB),
        ("deep.json", "[" * 100_000),
        ("deep.yaml", "{a: " * 900),
        ("deep.py", "x = " + "(" * 10_000),
        ("binary.yaml", b"\x00\xff\xfe\x80" * 100),
        ("binary.sh", bytes(range(256))),
        ("nul.sh", b"--learning_rate\x00--a --b --c"),
        ("tag.yaml", "!!python/object/apply:os.system ['touch ran']"),
        ("list.yaml", "- 1\n- 2\n"),
        ("empty.yaml", ""),
        ("other.yaml", "compute_environment: LOCAL_MACHINE\nnum_processes: 8\n"),
        ("quotes.sh", "trl sft --learning_rate '"),
        ("large.sh", "# \n" * MAX_CHARACTERS),
        ("merge.yaml", "<<: *x\n"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_with_its_name(here, name, text):
    with pytest.raises(UsageError) as refused:
        read_text(name, text)
    assert refused.value.problems[0].where.startswith(name)
    assert not Path("ran").exists()


@pytest.mark.parametrize("value", ["1e400", "-5", "9" * 400, ".nan", "[1, 2]", "{a: 1}", "1e17"])
@pytest.mark.parametrize("field", ["micro_batch_size", "sequence_len", "lora_r", "max_steps"])
def test_absurd_numbers_are_findings(here, review, field, value):
    lines = [line for line in AXOLOTL.splitlines() if not line.startswith(f"{field}:")]
    made = review("\n".join([*lines, f"{field}: {value}"]), hardware__gpu_memory_gib=24)
    assert made.format == "axolotl"


def test_a_folder_and_a_missing_file_are_refused(here):
    for path in (Path(), Path("missing.yaml")):
        with pytest.raises(UsageError):
            read(path)
