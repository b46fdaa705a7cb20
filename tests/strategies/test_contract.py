"""What every installed strategy must hold to, its YAML at the defaults, on several architectures.

Strategies are found as the program finds them; those of other packages are tested like ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from sweeper.facts.record import ModelFacts
from sweeper.memory.setup import Setup
from sweeper.memory.states import frozen_parameters, trainable_parameters
from sweeper.planning.costs.setups import setup_fields
from sweeper.planning.rulebook.book import rule_book
from sweeper.planning.rulebook.fact_table import FACTS
from sweeper.plans import Parameter
from sweeper.spec import Scalar
from sweeper.strategies.strategy import Setting, strategies, strategy
from sweeper.traits.traits import known_strategies, traits_of

KINDS = ("llama", "qwen2", "gpt2", "gpt_neox", "phi3", "bert")
NAMES = known_strategies()


def works_on(name: str, kind: str) -> bool:
    """Whether the strategy's file lets it be planned for such a model."""
    model_kind = "encoder" if kind == "bert" else "decoder"
    known = dict.fromkeys(FACTS) | {"model_kind": model_kind, "model_type": kind}
    return all(
        need.when.holds(known) is not False for need in rule_book().strategies[name].requires
    )


# Each strategy's own tests train it on the others.
TRAINED = ("llama", "gpt2", "bert")
CASES = [(name, kind) for name in NAMES for kind in KINDS if works_on(name, kind)]


def facts(kind: str, base: Any) -> ModelFacts:
    config = base.config
    heads = config.num_attention_heads
    return ModelFacts(
        id=kind,
        source="local",
        model_type=config.model_type,
        kind="encoder" if kind == "bert" else "decoder",
        parameters=sum(weight.numel() for weight in base.parameters()),
        parameters_exact=True,
        layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        attention_heads=heads,
        key_value_heads=getattr(config, "num_key_value_heads", heads),
        head_dim=config.hidden_size // heads,
        intermediate_size=getattr(config, "intermediate_size", 4 * config.hidden_size),
        vocabulary_size=config.vocab_size,
        context_length=config.max_position_embeddings,
        tied_embeddings=bool(config.tie_word_embeddings),
        gated_mlp=kind in ("llama", "qwen2", "phi3"),
    )


def declared(name: str) -> dict[str, Parameter]:
    """A strategy's parameters without those of a new head, which is not the strategy's."""
    every = rule_book().strategies[name].parameters
    return {key: one.parameter for key, one in every.items() if not key.startswith("head_")}


def planned(name: str, model: ModelFacts, parameters: dict[str, Parameter]) -> Setup:
    """The set-up as the planner makes it."""
    traits = traits_of(name)
    fields = setup_fields(traits, {key: one.default for key, one in parameters.items()})
    return Setup(strategy=name, quantization=traits.quantization, **fields)  # type: ignore[arg-type]


def variants(name: str) -> Iterator[dict[str, Scalar]]:
    """The defaults, and every value that decides how much trains."""
    parameters = declared(name)
    defaults = {key: one.default for key, one in parameters.items()}
    yield defaults
    deciding = (traits_of(name).parameters() | {"target_modules"}) & parameters.keys()
    for key in sorted(deciding):
        one = parameters[key]
        ends = [int(end) for end in (one.allowed_low, one.low) if end is not None]
        for value in one.allowed_choices or ends:
            if value != one.default:
                yield defaults | {key: value}


def apply(tiny_base: Any, name: str, kind: str, parameters: dict[str, Scalar]) -> Any:
    setting = Setting("FEATURE_EXTRACTION" if kind == "bert" else "CAUSAL_LM")
    torch.manual_seed(0)
    return strategy(name).apply(tiny_base(kind), parameters, setting)


def test_every_strategy_has_a_class_and_a_file() -> None:
    assert NAMES
    found = strategies()
    assert sorted(found) == sorted(NAMES)
    for name, one in found.items():
        traits = traits_of(name)
        assert one.name == traits.name == name
        assert one.gradient_trained is traits.gradients_through_base
        assert one.saves_whole_model is traits.trains_base
        if one.gradient_trained:
            groups = {"num_train_epochs", "head_learning_rate"}
            assert groups <= rule_book().strategies[name].parameters.keys(), "see CONTRIBUTING.md"


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_as_many_parameters_train_as_the_file_says(tiny_base: Any, name: str, kind: str) -> None:
    declared_here = declared(name)
    for values in variants(name):
        parameters = {
            key: one.model_copy(update={"default": values[key]})
            for key, one in declared_here.items()
        }
        base = tiny_base(kind)
        model = facts(kind, base)
        setup = planned(name, model, parameters)
        known = {id(tensor) for tensor in (*base.parameters(), *base.buffers())}
        adapted = apply(lambda _, base=base: base, name, kind, values)
        trained = sum(w.numel() for w in adapted.parameters() if w.requires_grad)
        assert trained == trainable_parameters(model, setup), values
        held = (*adapted.parameters(), *adapted.buffers())
        added = {id(one): one for one in held if id(one) not in known and not one.requires_grad}
        if traits_of(name).adds not in ("prefix", "virtual-tokens"):  # these hold positions, too
            frozen = sum(one.numel() for one in added.values())
            assert frozen == frozen_parameters(model, setup), values


@pytest.mark.parametrize(("name", "kind"), [case for case in CASES if case[1] in TRAINED])
def test_it_trains_is_kept_and_is_taken_away(contract: Any, tiny_base: Any, name, kind) -> None:
    traits, parameters = traits_of(name), declared(name)
    if not traits.gradients_through_base:
        adapted = apply(
            tiny_base, name, kind, {key: one.default for key, one in parameters.items()}
        )
        assert not any(weight.requires_grad for weight in adapted.parameters())
        return
    # Few steps: at the rate that reaches furthest.
    values = {key: one.default for key, one in parameters.items()}
    values["learning_rate"] = parameters["learning_rate"].high
    model = facts(kind, tiny_base(kind))
    contract.check(
        name, kind, values, trainable_parameters(model, planned(name, model, parameters))
    )


@pytest.mark.parametrize(
    "name", [name for name in NAMES if works_on(name, "llama") and not traits_of(name).quantization]
)
@torch.no_grad()
def test_an_untrained_model_is_the_base_model_where_the_file_says_so(
    tiny_base: Any, batch: Any, name: str
) -> None:
    # On a quantised base it is as near to the base as its quantisation.
    expected = tiny_base("llama")(**batch).logits
    values = {key: one.default for key, one in declared(name).items()}
    adapted = apply(tiny_base, name, "llama", values).eval()
    logits = adapted(**batch).logits[:, -expected.shape[1] :]  # prompts may have some before
    apart = (logits - expected).abs().max() / expected.abs().max()
    same = bool(apart < 0.01)  # bottleneck adapters begin near the identity (Houlsby et al. 2019)
    if traits_of(name).gradients_through_base:
        assert same is rule_book().strategies[name].begins_as_base
