from __future__ import annotations

import json
from typing import Any

import pytest

from sweeper.data.examples import Dataset
from sweeper.data.load import load
from sweeper.errors import ChildFailed, UsageError
from sweeper.facts.dataset import domain_distance
from sweeper.facts.dataset.domain_distance import (
    MIN_FAR_BITS_RATIO,
    Bits,
    BitsRequest,
    general_text,
)
from sweeper.facts.gather import gather
from sweeper.facts.record import DataFacts, DomainFacts, ModelFacts
from sweeper.spec import AimSpec, DataSpec, HardwareSpec, ModelSpec, Spec

DATA = DataFacts(rows=40, train_rows=30, fingerprint="abc")


def facts(tmp_path: Any, **changes: Any) -> ModelFacts:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    fields: dict[str, Any] = {
        "id": "m", "source": "local", "folder": str(tmp_path), "model_type": "llama",
        "kind": "decoder", "parameters": 1, "parameters_exact": True, "layers": 1,
        "hidden_size": 8, "attention_heads": 1, "key_value_heads": 1, "head_dim": 8,
        "intermediate_size": 8, "vocabulary_size": 8, "context_length": 8,
        "tied_embeddings": True, "gated_mlp": True,
    }  # fmt: skip
    return ModelFacts(**(fields | changes))


@pytest.fixture(autouse=True)
def at_home(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path / "home"))


@pytest.fixture
def dataset(tmp_path: Any) -> Dataset:
    path = tmp_path / "rows.jsonl"
    rows = [{"text": f"row {n} says {'word ' * 20}{n}", "label": "ab"[n % 2]} for n in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load(DataSpec(path=str(path)), "classification")


@pytest.fixture
def answered(monkeypatch: Any) -> list[BitsRequest]:
    """Instead of a process with torch: remembers requests and gives a fixed answer."""
    asked: list[BitsRequest] = []

    def answer(_function: str, request: BitsRequest, kind: type[Bits], **_: Any) -> Bits:
        asked.append(request)
        return kind(bits_per_byte=2.0, general_bits_per_byte=1.0, bytes=9, seconds=1)

    monkeypatch.setattr(domain_distance, "in_child", answer)
    return asked


def test_a_measurement_decides_and_is_made_once(
    tmp_path: Any, dataset: Dataset, answered: list[BitsRequest]
) -> None:
    model = facts(tmp_path)
    assert domain_distance.with_stored_bits(DATA, model, AimSpec()) == DATA
    first = domain_distance.with_measured_bits(dataset, DATA, model, AimSpec())
    assert (first.domain.distance, first.domain.decided_by) == ("far", "bits-per-byte")
    assert domain_distance.with_measured_bits(dataset, DATA, model, AimSpec()) == first
    assert domain_distance.with_stored_bits(DATA, model, AimSpec()) == first
    assert len(answered) == 1
    assert sum(len(text.encode()) for text in answered[0].texts) <= 12_000


def test_other_weights_or_other_data_are_measured_again(
    tmp_path: Any, dataset: Dataset, answered: list[BitsRequest]
) -> None:
    domain_distance.with_measured_bits(dataset, DATA, facts(tmp_path), AimSpec())
    other = DATA.model_copy(update={"fingerprint": "def"})
    assert domain_distance.stored(facts(tmp_path), other) is None
    model = facts(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    assert domain_distance.stored(model, DATA) is None


def test_the_users_word_wins_over_the_measurement(
    tmp_path: Any, dataset: Dataset, answered: list[BitsRequest]
) -> None:
    found = domain_distance.with_measured_bits(
        dataset, DATA, facts(tmp_path), AimSpec(domain_distance="near")
    ).domain
    assert (found.distance, found.decided_by, found.bits_per_byte) == ("near", "user", 2.0)


@pytest.mark.parametrize(
    ("ours", "distance"), [(MIN_FAR_BITS_RATIO, "far"), (MIN_FAR_BITS_RATIO * 0.99, "near")]
)
def test_bits_win_over_tokens_per_word(ours: float, distance: str) -> None:
    tokens = {"tokens_per_word": 1.0, "general_tokens_per_word": 1.0}
    measured = DomainFacts(**tokens, bits_per_byte=ours, general_bits_per_byte=1.0)
    found = domain_distance.with_distance(measured, AimSpec())
    assert (found.distance, found.decided_by) == (distance, "bits-per-byte")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "encoder"}, "does not predict"),
        ({"folder": None}, "weights of m are not on this machine"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    tmp_path: Any, dataset: Dataset, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        domain_distance.with_measured_bits(dataset, DATA, facts(tmp_path, **changes), AimSpec())


def test_without_data_there_is_nothing_to_measure() -> None:
    numbers = Spec(
        task="classification",
        models=(ModelSpec(id="7B"),),
        data=DataSpec(examples=100),
        hardware=HardwareSpec(gpu_memory_gib=24),
    )
    with pytest.raises(UsageError) as refused:
        gather(numbers, measure_domain=True)
    assert refused.value.problems[0].where == "--measure-domain"


def test_a_process_that_fails_is_said(tmp_path: Any, dataset: Dataset, monkeypatch: Any) -> None:
    monkeypatch.setattr(domain_distance, "FUNCTION", "no_such_module:measure")
    with pytest.raises(ChildFailed, match="no_such_module"):
        domain_distance.with_measured_bits(dataset, DATA, facts(tmp_path), AimSpec())


def test_pieces_end_between_words_and_short_texts_are_left_out() -> None:
    found = domain_distance.pieces(["x" * 39, "", "long " * 100, "näher " * 100, "y" * 400])
    assert [len(text.encode()) <= 300 for text in found] == [True] * 3
    assert found[0].split() == ["long"] * 59
    assert set(found[1].split()) == {"näher"}
    assert domain_distance.pieces(["short", " "]) == ["short"]


def test_the_general_text_is_cut_like_the_data() -> None:
    short, long = (domain_distance.general_pieces(["x" * size]) for size in (60, 300))
    assert max(len(text.encode()) for text in short) <= 60
    assert len(short) > len(long) > 3
    assert set(" ".join(long).split()) <= set(general_text().split())
