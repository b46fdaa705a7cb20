"""A trial with its guards against forgetting, from general data to its result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sweeper.backend import Interrupted
from sweeper.data.examples import SPLITS, Dataset
from sweeper.features.forgetting._general_data import FOLDER, SelfSampling, own_text_folder
from sweeper.features.forgetting._general_set import GeneralSet
from sweeper.objective import Limit
from sweeper.spec import ModelSpec, Spec
from sweeper.strategies.strategy import strategy as strategy_named
from sweeper.training.base_model.context import ModelContext
from sweeper.training.base_model.shared import SharedModel
from sweeper.training.trial import rungs
from sweeper.training.trial.train import train_trial
from sweeper.training.trial.trial_job import TrialJob
from sweeper.trials import MEASURE_ITEMS, TrialResult

TEXT, REPLAYED = "general.text", "general text, replayed"
GENERAL = [f"{word} and {other}" for word in ("cat", "dog", "cow") for other in "abcdefgh"]
CAP = 48


@pytest.fixture
def make(byte_llama: Path, tmp_path: Path, tiny_facts: Any, turns: Any) -> Any:
    """A shared model on short conversations, with or without general texts and a limit."""

    def shared(
        *, general: bool = True, limit: float | None = None, **base_form: Any
    ) -> SharedModel:
        file = tmp_path / "general.jsonl"
        file.write_text("\n".join(json.dumps({"text": text}) for text in GENERAL))
        splits = {"train": turns(32, 1), "validation": turns(12, 2), "test": turns(6, 3)}
        dataset = Dataset(
            "x.jsonl", "messages", (), {}, splits, dict.fromkeys(SPLITS, "official"), (), "f"
        )
        named = ModelSpec(id=str(byte_llama))
        facts = tiny_facts(str(byte_llama), context_length=256)
        spec = Spec(
            task="instruction",
            models=(named,),
            features={
                "forgetting": {"general": str(file) if general else None, "max_points": limit}
            },
        )
        cpu = torch.device("cpu")
        return SharedModel(
            ModelContext(named, facts, byte_llama, dataset, spec, CAP, 16, cpu, **base_form)
        )

    return shared


BODY = {"learning_rate": 5e-3, "r": 4, "lora_alpha": 8, "target_modules": "qkvo"}


@pytest.fixture
def train(make: Any, make_config: Any, answering: Any, tmp_path: Path) -> Any:
    """A trial with these parameters besides LoRA's: its result, its reports and its folder."""

    def run(
        shared: SharedModel | None = None,
        strategy: str = "lora",
        precision: str = "fp32",
        **guards: Any,
    ) -> Any:
        reports, place = answering(), tmp_path / f"trial-{len(list(tmp_path.iterdir()))}"
        place.mkdir()
        config = make_config(
            task="instruction",
            strategy=strategy,
            parameters={**BODY, **guards},
            sequence_length=CAP,
            precision=precision,
            budget={"rung_items": 6},
        )
        job = TrialJob(shared or make(), config, place, reports)
        return train_trial(job), reports, place

    return run


def forgotten(result: TrialResult) -> float:
    return result.measures[TEXT].change


def test_forgetting_is_measured_item_by_item_against_the_base(train: Any) -> None:
    result, reports, place = train()
    kept = json.loads((place / MEASURE_ITEMS).read_text())[TEXT]
    assert len(kept["values"]) == len(kept["base_values"]) == len(kept["weights"]) == 4
    mean = sum(a * w for a, w in zip(kept["values"], kept["weights"], strict=True))
    assert result.measures[TEXT].value == pytest.approx(mean / sum(kept["weights"]))
    assert forgotten(result) == result.measures[TEXT].value - result.measures[TEXT].base
    assert (result.seen, reports[-1].measures) == ({}, {})


@pytest.mark.parametrize("precision", ["fp32", "bf16-mixed", "bf16-pure"])
@pytest.mark.parametrize("strategy", ["lora", "full"])
def test_rounding_is_no_part_of_what_is_forgotten(
    train: Any, make: Any, precision: str, strategy: str
) -> None:
    """A model that learns nothing forgets nothing, in whatever precision it computes."""
    still = {"learning_rate": 1e-30, "weight_decay": 0.0}
    result, _, _ = train(make(), strategy, precision=precision, **still)
    assert forgotten(result) == 0.0


def test_without_general_data_nothing_is_measured_and_nothing_is_sampled(
    train: Any, make: Any, home: Path
) -> None:
    result, _, place = train(make(general=False))
    assert (result.state, result.measures, result.seen) == ("COMPLETE", {}, {})
    assert not (place / MEASURE_ITEMS).exists()
    assert not (home / FOLDER).exists()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own."""
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_guarded_trial_reports_what_it_replayed_and_keeps_its_task_budget(
    train: Any, make: Any
) -> None:
    shared = make()
    plain, *_ = train(shared)
    result, *_ = train(shared, replay_share=0.2, kl_weight=0.5)
    assert result.state == "COMPLETE"
    assert (result.tokens, result.optimizer_steps) == (plain.tokens, plain.optimizer_steps)
    assert result.seen[REPLAYED].tokens == pytest.approx(result.tokens / 4, abs=12)


def test_what_is_held_back_is_never_replayed(make: Any) -> None:
    general = GeneralSet(make().context)
    task, features = general.replayed
    read = {tuple(feature["input_ids"]) for feature in features}
    held = {tuple(feature["input_ids"]) for feature in task.encode(general.text.held_back)}
    assert held
    assert not held & read
    assert len(held) + len(read) == len(GENERAL)


def test_replay_keeps_general_text_that_training_without_it_loses(train: Any, make: Any) -> None:
    shared = make()
    without, *_ = train(shared, "full", learning_rate=2e-3)
    with_replay, *_ = train(shared, "full", learning_rate=2e-3, replay_share=0.5)
    assert forgotten(with_replay) < forgotten(without)


def test_a_strong_penalty_holds_the_model_at_its_base(train: Any, make: Any) -> None:
    shared = make()
    for strategy in ("lora", "full"):
        free, *_ = train(shared, strategy, learning_rate=2e-3)
        held, *_ = train(shared, strategy, learning_rate=2e-3, kl_weight=100.0)
        assert held.validation_loss > free.validation_loss
    assert torch.equal(
        next(shared.context.base_lender.lend(torch.float32).parameters()),
        next(shared.context.base().parameters()),
    )


def test_a_trial_ends_early_and_keeps_its_best_weights(train: Any) -> None:
    result, reports, _ = train(learning_rate=0.0, early_stopping_patience=1)
    assert (result.state, result.stopped_at_rung, len(reports)) == ("COMPLETE", 2, 2)
    assert result.stopped_by == "patience"
    assert result.validation_loss is not None


def test_a_limit_ends_a_trial_that_passes_it(
    train: Any, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Below what training can gain: a random model only learns, and has nothing to forget.
    below = Limit("general", -10.0, "forgetting", 2, "")
    monkeypatch.setattr(rungs, "limits_of", lambda spec: (below,))
    result, reports, _ = train(make(limit=0.0))
    assert result.state == "COMPLETE"
    assert (result.stopped_at_rung, len(reports)) == (1, 1)
    assert result.stopped_by == "limit"
    assert reports[0].measures[TEXT].base is not None


def test_a_head_is_refused_with_the_reason(make_job: Any) -> None:
    for guard in ({"kl_weight": 0.1}, {"replay_share": 0.2}):
        result = train_trial(make_job(parameters={**BODY, **guard}))
        assert result.failure is not None
        assert result.failure.kind == "refused"
        assert "head" in result.failure.detail or "cannot be replayed" in result.failure.detail


def test_the_base_writes_general_text_once_where_none_is_given(
    make: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, sampling = make(general=False, limit=1.0), SelfSampling(texts=12, tokens=6, batch=4)
    first = GeneralSet(shared.context, sampling)
    assert first.watched({})
    assert first.text.replay
    assert first.text.held_back
    place = own_text_folder(shared.context.facts, shared.context.folder, sampling)
    assert [place] == list((home / FOLDER).glob("[!.]*"))
    monkeypatch.setattr(
        shared.context.base_lender, "lend", lambda *_, **__: pytest.fail("sampled again")
    )
    again = GeneralSet(shared.context, sampling)
    assert again.text == first.text
    assert first.writing_seconds > again.writing_seconds == 0.0
    seconds: dict[str, float] = {}
    for general in (first, again):
        with general.adding_writing_seconds(seconds, "forgetting"):
            general.writing_seconds += 2.0
    assert seconds == {"forgetting": 4.0}


def test_general_text_of_a_qlora_candidate_is_of_its_quantised_base(
    make: Any, make_config: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy = strategy_named("qlora")
    dtype = strategy.base_dtype("bf16-mixed")
    quantized = strategy.quantization_config(BODY, dtype=dtype)
    context = make(
        general=False, limit=1.0, base_dtype=dtype, quantization_config=quantized
    ).context
    lend, four_bits = context.base_lender.lend, list[bool]()

    def lent(*form: Any, **options: Any) -> Any:
        base = lend(*form, **options)
        four_bits.append(any(hasattr(weight, "quant_state") for weight in base.parameters()))
        return base

    monkeypatch.setattr(context.base_lender, "lend", lent)
    general = GeneralSet(context, SelfSampling(texts=12, tokens=6, batch=4))
    assert general.text.held_back
    config = make_config(strategy="qlora", parameters=BODY, precision="bf16-mixed")
    assert general.of_base(strategy, config, 4).loss > 0
    assert four_bits == [True, True]


def test_text_that_the_base_writes_is_told_token_by_token(
    make: Any, home: Path, heard: Any
) -> None:
    context = make(general=False).context
    context.on_progress = heard.on_progress
    assert GeneralSet(context, SelfSampling(texts=6, tokens=8, batch=3)).text.replay
    steps = heard.of("writing general text")
    assert steps == sorted(steps)
    assert {0, 3, 6} <= set(steps)
    assert len(steps) > 8


def test_text_that_the_base_writes_stops_at_a_token(make: Any, home: Path) -> None:
    context, asked = make(general=False).context, []

    def stop() -> bool:
        asked.append(True)
        return len(asked) > 4

    context.on_progress.should_stop = stop
    with pytest.raises(Interrupted):
        _ = GeneralSet(context, SelfSampling(texts=6, tokens=8, batch=3)).text
    assert len(asked) == 5
    assert not list((home / "general").glob("[0-9a-f]*"))
