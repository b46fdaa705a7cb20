from __future__ import annotations

import pytest

from sweeper.errors import ModelError
from sweeper.strategies.adapter import Adapter
from sweeper.strategies.strategy import Setting


def trainable(places: int, reduction_factor: int, layers: int = 2, width: int = 64) -> int:
    inner = width // reduction_factor
    return places * layers * (2 * width * inner + inner + width)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2", "gpt_neox", "phi3", "falcon", "bert"])
def test_contract(contract, kind):
    parameters = {"learning_rate": 1e-2, "reduction_factor": 4, "placement": "houlsby"}
    contract.check("adapter", kind, parameters, trainable(2, 4))


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"reduction_factor": 16, "placement": "pfeiffer"}, trainable(1, 16)),
        ({"reduction_factor": 8}, trainable(2, 8)),
    ],
)
def test_parameters_reach_the_tuner(contract, parameters, expected):
    contract.check("adapter", "llama", {"learning_rate": 1e-2} | parameters, expected)


def test_contract_on_a_classifiers_decoder_and_under_checkpointing(contract):
    parameters = {"learning_rate": 1e-2, "reduction_factor": 4}
    contract.check(
        "adapter",
        "llama",
        parameters,
        trainable(2, 4),
        task_type="FEATURE_EXTRACTION",
        gradient_checkpointing=True,
    )


def test_what_cannot_be_is_refused(tiny_base):
    setting = Setting("CAUSAL_LM")
    with pytest.raises(ModelError, check=lambda error: error.code == "mixture-of-experts"):
        Adapter().apply(tiny_base("mixtral"), {"reduction_factor": 4}, setting)
