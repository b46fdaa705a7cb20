"""A sound configuration in each format, all of the same training."""

from sweeper.features.review._record import Finding, Review

AXOLOTL = """\
base_model: Qwen/Qwen2.5-0.5B
adapter: lora
lora_r: 16
lora_alpha: 32  # twice the rank
lora_target_linear: true
datasets:
  - path: tatsu-lab/alpaca
    type: alpaca
sequence_len: 1024
micro_batch_size: 2
gradient_accumulation_steps: 8
num_epochs: 2
learning_rate: 2e-4
lr_scheduler: cosine
warmup_ratio: 0.05
optimizer: adamw_torch_fused
bf16: auto
val_set_size: 0.05
evals_per_epoch: 2
wandb_project:
"""
LLAMA_FACTORY = """\
model_name_or_path: Qwen/Qwen2.5-0.5B-Instruct
stage: sft
finetuning_type: lora
lora_target: all
dataset: identity
template: qwen
cutoff_len: 1024
per_device_train_batch_size: 2
gradient_accumulation_steps: 8
learning_rate: 2.0e-4
num_train_epochs: 2
bf16: true
"""
TRL = """\
model_name_or_path: Qwen/Qwen2.5-0.5B
dataset_name: stanfordnlp/imdb
use_peft: true
lora_r: 16
lora_alpha: 32
learning_rate: 2.0e-4
per_device_train_batch_size: 2
gradient_accumulation_steps: 8
num_train_epochs: 2
bf16: true
"""
TORCHTUNE = """\
model:
  _component_: torchtune.models.qwen2_5.lora_qwen2_5_0_5b
  lora_attn_modules: [q_proj, v_proj, output_proj]
  apply_lora_to_mlp: true
  lora_rank: 16
  lora_alpha: 32
checkpointer:
  _component_: torchtune.training.FullModelHFCheckpointer
  checkpoint_dir: /tmp/Qwen2.5-0.5B
tokenizer:
  max_seq_len: 1024
dataset:
  _component_: torchtune.datasets.alpaca_dataset
  packed: false
optimizer:
  _component_: torch.optim.AdamW
  lr: 2e-4
lr_scheduler:
  num_warmup_steps: 10
loss:
  _component_: torchtune.modules.loss.LinearCrossEntropyLoss
batch_size: 2
batch_size_val: ${batch_size}
epochs: 2
gradient_accumulation_steps: 8
dtype: bf16
"""
LITGPT = """\
checkpoint_dir: checkpoints/Qwen/Qwen2.5-0.5B
precision: bf16-true
quantize:
devices: 1
lora_r: 16
lora_alpha: 32
lora_query: true
lora_key: false
lora_mlp: true
data:
  class_path: litgpt.data.Alpaca2k
  init_args:
    mask_prompt: true
train:
  global_batch_size: 16
  micro_batch_size: 2
  lr_warmup_steps: 10
  epochs: 2
  max_seq_length: 1024
optimizer:
  class_path: torch.optim.AdamW
  init_args:
    lr: 0.0002
"""
PEFT = """\
{
  "base_model_name_or_path": "Qwen/Qwen2.5-0.5B",
  "peft_type": "LORA",
  "r": 16,
  "lora_alpha": 32,
  "target_modules": ["q_proj", "v_proj"],
  "use_rslora": false
}
"""
SOUND = {
    "axolotl": ("axolotl.yaml", AXOLOTL),
    "llama-factory": ("llama-factory.yaml", LLAMA_FACTORY),
    "trl": ("trl.yaml", TRL),
    "torchtune": ("torchtune.yaml", TORCHTUNE),
    "litgpt": ("litgpt.yaml", LITGPT),
    "peft": ("adapter_config.json", PEFT),
}


def kinds(made: Review) -> dict[str, Finding]:
    """The findings by their kinds."""
    return {one.kind: one for one in made.findings}
