"""The table of well-known models, and the shapes of bare sizes."""

from pathlib import Path

import pytest

from sweeper.errors import ModelError
from sweeper.facts.models import catalogue
from sweeper.facts.models.catalogue import entries, parse_size, typical
from sweeper.facts.models.model import model_facts
from sweeper.resources import part_of_table
from sweeper.spec import ModelSpec


def test_the_models_that_stand_for_sizes_are_all_that_have_one():
    sized = {name: entry.size for name, entry in entries().items() if entry.size}
    assert len(sized) > 10
    part = part_of_table("models.yaml", "size")
    assert {name: fields["size"] for name, fields in part.items()} == sized


def test_a_size_has_the_shape_of_the_model_that_stands_for_it():
    for name, entry in entries().items():
        size = parse_size(entry.size or "")
        if size is not None:
            found, config = typical(size)
            assert entries()[found].size == entry.size, name
            assert {**config, "num_hidden_layers": 0} == {
                **entries()[found].config, "num_hidden_layers": 0,
            }  # fmt: skip


LIST = Path(__file__).parent / "well_known_names.txt"
KNOWN = [
    tuple(line.split())
    for line in LIST.read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]


def test_well_known_names_are_their_models():
    found = {name: catalogue.match(name) for name, _ in KNOWN}
    ids = {name: meant.id if meant else "-" for name, meant in found.items()}
    assert ids == dict(KNOWN)


def test_most_well_known_names_are_planned_offline():
    assert len(KNOWN) >= 260
    assert sum(expected != "-" for _, expected in KNOWN) >= 240


def facts(name):
    return model_facts(ModelSpec(id=name))


def test_a_variant_is_planned_by_its_base_and_the_plan_says_so():
    found = facts("unsloth/Meta-Llama-3.1-8B-Instruct-unsloth-bnb-4bit")
    assert (found.source, found.parameters, found.chat_template) == (
        "catalogue",
        8_030_261_248,
        True,
    )
    assert "Planned as meta-llama/Llama-3.1-8B, whose shape it shares" in found.weights_note
    assert "stored quantised" in found.weights_note


def test_a_base_model_of_a_chat_family_has_no_template():
    assert not facts("Qwen/Qwen3-8B-Base").chat_template
    assert facts("mistralai/Mistral-7B-Instruct-v0.2").chat_template


def test_the_id_itself_assumes_nothing():
    assert facts("meta-llama/Llama-3.1-8B").weights_note is None


def test_a_model_that_is_only_named_after_another_is_an_estimate():
    found = facts("acme/Qwen2.5-7B-medical")
    assert "which it is named after" in found.weights_note
    assert (found.parameters_exact, found.license) == (False, None)


def test_a_gguf_file_is_said_not_to_be_trainable():
    note = facts("bartowski/Meta-Llama-3.1-8B-Instruct-GGUF").weights_note
    assert "cannot be trained" in note
    assert "meta-llama/Llama-3.1-8B" in note


@pytest.mark.parametrize(
    "name",
    [
        "nvidia/Llama-3.1-Minitron-4B-Width-Base",
        "nvidia/Llama-3_1-Nemotron-51B-Instruct",
        "Qwen/Qwen2.5-VL-7B-Instruct",
        "microsoft/Phi-4-multimodal-instruct",
        "microsoft/Phi-4-mini-flash-reasoning",
        "tiiuae/Falcon-H1-7B-Base",
        "dbmdz/bert-base-german-cased",
        "acme/llama-3.1-8b-lora",
        "state-spaces/mamba-2.8b",
        "wonder-3B-chat",
        "",
    ],
)
def test_another_shape_is_not_taken_for_the_model_in_its_name(name):
    assert catalogue.match(name) is None


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("meta-llama/Llama-3.2-11B-Vision", "meta-llama/Llama-3.2-3B"),
        ("Qwen/Qwen4-8B", "Qwen/Qwen3-8B"),
        ("ibm-granite/granite-4.0-h-tiny", "ibm-granite/granite-4.0-1b-base"),
        ("roberta-bse", "FacebookAI/roberta-base"),
        ("acme/nothing-like-it", None),
    ],
)
def test_a_hint_names_the_nearest_of_the_same_family(name, hint):
    assert catalogue.nearest(name) == hint


def test_an_unknown_name_with_a_size_is_told_to_plan_that_size():
    with pytest.raises(ModelError, check=lambda error: error.code == "no-model-here"):
        facts("mistralai/Codestral-22B-v0.1")
