import pytest

from tests.features.review.configurations import (
    AXOLOTL,
    LITGPT,
    LLAMA_FACTORY,
    PEFT,
    SOUND,
    TORCHTUNE,
    TRL,
    kinds,
)


def with_lines(text: str, *lines: str) -> str:
    """The configuration with other lines in the place of those of the same keys."""
    keys = {line.partition(":")[0] for line in lines}
    kept, dropped = [], False
    for line in text.splitlines():
        dropped = dropped if line.startswith(" ") else line.partition(":")[0] in keys
        kept += [] if dropped else [line]
    return "\n".join([*kept, *lines]) + "\n"


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_configuration_has_no_finding(review, name):
    made = review(SOUND[name][1], SOUND[name][0], data__examples=5000)
    assert made.findings == ()
    assert made.patch == ""


RS = PEFT.replace('"use_rslora": false', '"use_rslora": true').replace("16,", "64,")
UNMASKED = LITGPT.replace("mask_prompt: true", "mask_prompt: false")
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
CASES = [
    ("packing-without-masks", with_lines(LLAMA_FACTORY, "packing: true"), "warning", "packing",
     {"neat_packing": True}),
    ("packing-without-masks", with_lines(TRL, "packing: true"), "warning", "packing",
     {"attn_implementation": "flash_attention_2"}),
    ("packing-without-masks",
     with_lines(TRL, "packing: true", "packing_strategy: wrapped",
                "attn_implementation: flash_attention_2"),
     "warning", "packing_strategy", {"packing_strategy": "bfd"}),
    ("packing-without-masks", with_lines(AXOLOTL, "sample_packing: true"), "warning",
     "sample_packing", {"attn_implementation": "flash_attention_2"}),
    ("packing-without-length",
     TORCHTUNE.replace("packed: false", "packed: true").replace("max_seq_len: 1024", "path: x"),
     "error", "dataset.packed", {"tokenizer.max_seq_len": 2048}),
    ("loss-on-prompt", with_lines(AXOLOTL, "train_on_inputs: true"), "note", "train_on_inputs",
     {"train_on_inputs": False}),
    ("loss-on-prompt", UNMASKED.replace("Alpaca2k", "Alpaca"), "note",
     "data.init_args.mask_prompt", {"data.init_args.mask_prompt": True}),
    ("loss-on-prompt", with_lines(TRL, "completion_only_loss: false"), "note",
     "completion_only_loss", {"completion_only_loss": True}),
    ("two-warmups", with_lines(AXOLOTL, "warmup_steps: 10"), "warning", "warmup_ratio", {}),
    ("warmup-without-effect", with_lines(AXOLOTL, "lr_scheduler: constant"), "warning",
     "lr_scheduler", {"lr_scheduler": "constant_with_warmup"}),
    ("warmup-too-long", with_lines(TRL, "max_steps: 50", "warmup_steps: 100"), "error",
     "warmup_steps", {"warmup_steps": 2}),
    ("warmup-too-long", LITGPT.replace("lr_warmup_steps: 10", "lr_warmup_steps: 1000"), "error",
     "train.lr_warmup_steps", {"train.lr_warmup_steps": 12}),
    ("warmup-too-long", with_lines(TRL, "max_steps: 50", "warmup_steps: 30"), "warning",
     "warmup_steps", {"warmup_steps": 2}),
    ("warmup-too-long", with_lines(TRL, "warmup_ratio: 0.6"), "warning", "warmup_ratio",
     {"warmup_ratio": 0.05}),
    ("evaluation-never", with_lines(AXOLOTL, "val_set_size: 0"), "warning", "evals_per_epoch",
     {"val_set_size": 0.05}),
    ("evaluation-never", with_lines(AXOLOTL, "evals_per_epoch:"), "warning", "val_set_size",
     {"evals_per_epoch": 1}),
    ("evaluation-never", with_lines(TRL, "eval_steps: 100"), "warning", "eval_steps",
     {"eval_strategy": "steps"}),
    ("evaluation-never",
     with_lines(TRL, "eval_strategy: steps", "eval_steps: 100", "max_steps: 40"), "warning",
     "eval_steps", {"eval_steps": 10}),
    ("evaluates-on-train", with_lines(LLAMA_FACTORY, "eval_dataset: identity"), "warning",
     "eval_dataset", {}),
    ("other-chat-template", with_lines(LLAMA_FACTORY, "template: llama3"), "warning", "template",
     {}),
    ("other-chat-template", with_lines(AXOLOTL, f"base_model: {LLAMA}", "chat_template: chatml"),
     "warning", "chat_template", {}),
    ("alpha-with-rslora", RS.replace("32,", "128,"), "warning", "lora_alpha", {"lora_alpha": 16}),
    ("adapter-not-trained", with_lines(TRL, "use_peft: false"), "warning", "lora_r",
     {"use_peft": True}),
    ("adapter-not-trained", with_lines(AXOLOTL, "adapter:"), "warning", "lora_r",
     {"adapter": "lora"}),
    ("quantised-and-full", with_lines(AXOLOTL, "adapter:", "load_in_4bit: true"), "error",
     "load_in_4bit", {"adapter": "lora"}),
    ("qlora-without-4bit", with_lines(AXOLOTL, "adapter: qlora"), "error", "adapter",
     {"load_in_4bit": True}),
    ("new-tokens-untrained", with_lines(AXOLOTL, "tokens: ['<a>', '<b>']"), "warning", "tokens",
     {}),
    ("new-tokens-untrained", with_lines(TRL, "chat_template_format: chatml"), "warning",
     "chat_template_format", {}),
    ("epochs-without-effect", with_lines(TRL, "max_steps: 50"), "note", "num_train_epochs", {}),
    ("longer-than-context", with_lines(AXOLOTL, "sequence_len: 100000"), "warning",
     "sequence_len", {"sequence_len": 32768}),
    ("longer-than-context", LITGPT.replace("max_seq_length: 1024", "max_seq_length: 65536"),
     "warning", "train.max_seq_length", {"train.max_seq_length": 32768}),
    ("unknown-field", with_lines(AXOLOTL, "gradient_checkpointin: true"), "note",
     "gradient_checkpointin", {}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text", "level", "field", "change"), CASES)
def test_a_contradiction_is_found_at_its_line_with_what_removes_it(
    review, kind, text, level, field, change
):
    name = "adapter_config.json" if text.startswith("{") else "config.yaml"
    made = review(text, name)
    found = kinds(made)[kind]
    assert (found.level, found.fields[0], found.change) == (level, field, change)
    assert found.source
    assert field.rpartition(".")[2] in text.splitlines()[found.line - 1]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("packing-without-masks", with_lines(LLAMA_FACTORY, "packing: true", "stage: pt")),
        ("packing-without-masks", with_lines(LLAMA_FACTORY, "packing: true", "neat_packing: true")),
        ("packing-without-masks",
         with_lines(AXOLOTL, "sample_packing: true", "attn_implementation: sdpa")),
        ("packing-without-masks", TORCHTUNE.replace("packed: false", "packed: true")),
        ("loss-on-prompt", with_lines(TRL, "assistant_only_loss: false")),
        ("loss-on-prompt", UNMASKED),
        ("warmup-too-long", with_lines(TRL, "warmup_steps: 100")),
        ("evaluation-never",
         with_lines(AXOLOTL, "val_set_size: 0", "test_datasets: [{path: other}]")),
        ("evaluates-on-train",
         with_lines(AXOLOTL, "datasets: [{path: a, split: train}]", "val_set_size: 0",
                    "test_datasets: [{path: a, split: test}]")),
        ("other-chat-template", with_lines(AXOLOTL, "chat_template: chatml")),
        ("other-chat-template",
         with_lines(AXOLOTL, f"base_model: {LLAMA}", "chat_template: tokenizer_default")),
        ("alpha-with-rslora", RS),
        ("unknown-target", with_lines(LLAMA_FACTORY, "lora_target: q_proj,v_proj")),
        ("new-tokens-untrained", with_lines(TRL, "chat_template_format: none")),
        ("epochs-without-effect",
         with_lines(TRL, "max_steps: 50  # overrides num_train_epochs")),
    ],
)  # fmt: skip
def test_what_is_no_contradiction_is_not_reported(review, kind, text):
    name = "adapter_config.json" if text.startswith("{") else "config.yaml"
    assert kind not in kinds(review(text, name))


def test_a_target_that_the_model_lacks_is_named(review):
    found = kinds(review(with_lines(LLAMA_FACTORY, "lora_target: q_proj,query_key_value")))
    assert found["unknown-target"].fields == ("lora_target",)


@pytest.mark.parametrize(("rows", "reported"), [(9_000, False), (11_000, True)])
def test_a_loss_on_prompts_is_not_reported_where_rows_are_few(review, rows, reported):
    text = with_lines(AXOLOTL, "train_on_inputs: true", "val_set_size: 0.01")
    assert ("loss-on-prompt" in kinds(review(text, data__examples=rows))) == reported


def test_rows_are_known_without_a_model(review):
    text = UNMASKED.replace("Qwen/Qwen2.5-0.5B", "nobody/nothing").replace(": 10\n", ": 1000\n")
    made = review(text)
    assert (made.steps, made.memory) == (236, None)
    assert kinds(made)["warmup-too-long"].level == "error"
    assert "loss-on-prompt" not in kinds(made)
