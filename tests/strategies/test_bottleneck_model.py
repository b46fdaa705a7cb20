from __future__ import annotations

import importlib.metadata

import peft
import pytest
import torch
from peft import PeftModel, get_peft_model, mapping
from peft.utils import PeftType
from transformers import BertConfig, BertForSequenceClassification

from sweeper.errors import UsageError
from sweeper.strategies.bottleneck import (
    INIT_STD,
    BottleneckConfig,
    BottleneckLayer,
    BottleneckModel,
    BottleneckType,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is_gradient_checkpointing:FutureWarning"  # PEFT asks by the name of old
)


def adapted(base, **options):
    task_type = "CAUSAL_LM" if hasattr(base, "lm_head") else "FEATURE_EXTRACTION"
    options = {"reduction_factor": 4, "task_type": task_type} | options
    return get_peft_model(base, BottleneckConfig(**options)).eval()


def scramble(model, seed=1):
    """Adapters as training could have left them."""
    generator = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data.normal_(0, 0.1, generator=generator)
    return model


def output(model, batch):
    with torch.no_grad():
        return model(**batch)[0]


def test_installed_peft_looks_types_up_where_the_tuner_is_registered():
    assert importlib.metadata.version("peft") == peft.__version__
    key = "BOTTLENECK"
    assert key not in PeftType.__members__
    assert mapping.PEFT_TYPE_TO_CONFIG_MAPPING[key] is BottleneckConfig
    assert mapping.PEFT_TYPE_TO_TUNER_MAPPING[key] is BottleneckModel
    assert mapping.PEFT_TYPE_TO_PREFIX_MAPPING[key] == BottleneckModel.prefix
    assert mapping.PEFT_TYPE_TO_CONFIG_MAPPING[BottleneckType.BOTTLENECK] is BottleneckConfig


def test_new_adapters_are_close_to_the_identity(tiny_base, batch):
    base = tiny_base("llama")
    before = output(base, batch)
    model = adapted(base)
    assert 0 < (output(model, batch) - before).abs().max() < 1e-2
    down, *_ = model.base_model.model.model.layers[0].mlp.down_proj.bottleneck_layers["default"]
    assert down.weight.abs().max() <= 2 * INIT_STD
    assert not down.bias.any()


@pytest.mark.parametrize(("placement", "places"), [("houlsby", 2), ("pfeiffer", 1)])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert", "phi3", "gpt_neox", "falcon"])
def test_placement_decides_how_many_weights_train(tiny_base, kind, placement, places):
    model = adapted(tiny_base(kind), placement=placement)
    width, inner, layers = 64, 16, 2
    expected = places * layers * (2 * width * inner + inner + width)
    assert sum(w.numel() for w in model.parameters() if w.requires_grad) == expected


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert", "gpt_neox"])
def test_saved_adapter_gives_identical_outputs(tiny_base, batch, tmp_path, kind):
    model = scramble(adapted(tiny_base(kind)))
    model.save_pretrained(str(tmp_path), save_embedding_layers=False)
    loaded = PeftModel.from_pretrained(tiny_base(kind), str(tmp_path))
    assert torch.equal(output(loaded, batch), output(model, batch))
    assert "import sweeper.strategies.bottleneck" in (tmp_path / "README.md").read_text()


def test_disabling_and_unloading_give_the_base_back_exactly(tiny_base, batch):
    base = tiny_base("gpt2")
    before, weights = output(base, batch), base.state_dict()
    model = scramble(adapted(base))
    assert not torch.equal(output(model, batch), before)
    with model.disable_adapter():
        assert torch.equal(output(model, batch), before)
    assert not torch.equal(output(model, batch), before)
    unloaded = model.unload()
    assert unloaded is base
    assert torch.equal(output(unloaded, batch), before)
    assert unloaded.state_dict().keys() == weights.keys()


@pytest.mark.parametrize("merge", ["merge_and_unload", "merge_adapter"])
def test_merging_is_refused_with_the_reason(tiny_base, merge):
    model = adapted(tiny_base("llama"))
    with pytest.raises(UsageError, check=lambda error: error.code == "no-merge"):
        getattr(model, merge)()
    assert not any(m.merged for m in model.modules() if isinstance(m, BottleneckLayer))


def test_gradients_are_the_same_under_checkpointing(tiny_base, batch):
    gradients = []
    for checkpointing in (False, True):
        base = tiny_base("llama")
        if checkpointing:
            base.activation_checkpointing_enable({"use_reentrant": False})
        model = scramble(adapted(base)).train()
        model(**batch, labels=batch["input_ids"]).loss.backward()
        gradients.append([w.grad for w in model.parameters() if w.requires_grad])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_adapter_of_a_bf16_base_trains_in_float32(tiny_base, batch):
    model = adapted(tiny_base("llama", dtype=torch.bfloat16))
    kinds = {weight.dtype for weight in model.parameters() if weight.requires_grad}
    assert kinds == {torch.float32}
    assert output(model, batch).dtype == torch.bfloat16


def test_sequence_classification_head_is_trained_and_saved(batch, tmp_path):
    config = BertConfig(
        vocab_size=97,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_labels=3,
    )
    torch.manual_seed(0)
    model = BertForSequenceClassification(config)
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    model = get_peft_model(model, BottleneckConfig(task_type="SEQ_CLS", reduction_factor=4)).eval()
    scramble(model)
    assert any("classifier" in n for n, w in model.named_parameters() if w.requires_grad)
    model.save_pretrained(str(tmp_path), save_embedding_layers=False)
    again = BertForSequenceClassification(config)
    again.load_state_dict(weights)
    loaded = PeftModel.from_pretrained(again, str(tmp_path))
    assert torch.equal(output(loaded, batch), output(model, batch))
