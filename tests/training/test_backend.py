"""The backend as a worker sees it: data from files, baselines, trials, the sealed test split."""

import json

import pytest
from transformers import set_seed

from sweeper.backend import Decision
from sweeper.errors import ModelError
from sweeper.facts.record import DataFacts, Facts, HardwareFacts
from sweeper.planning.plan import Budget, Candidate, Duration, MemoryEstimate, Plan
from sweeper.runfolder import RunFolder
from sweeper.spec import AimSpec, DataSpec, ModelSpec, Spec
from sweeper.training.backend import make, weights_folder
from sweeper.training.workshop import Workshop

MEMORY = MemoryEstimate(peak_gib=1, low_gib=1, high_gib=1, limit_gib=8, parts={})
TIME = Duration(seconds=1, low=1, high=1)


@pytest.fixture
def backend(make_workshop, topics, tmp_path):
    workshop: Workshop = make_workshop()
    data = tmp_path / "data"
    data.mkdir()
    for split, rows in topics.splits.items():
        lines = [json.dumps({"text": row.text, "label": row.label}) for row in rows]
        (data / f"{split}.jsonl").write_text("\n".join(lines))
    facts, model = workshop.facts, workshop.facts.id
    candidate = Candidate(
        strategy="lora",
        model=model,
        score=1,
        reasons=(),
        memory=MEMORY,
        seconds_per_trial=1,
        duration=TIME,
        micro_batch=8,
        gradient_accumulation_steps=1,
        evaluation_batch=16,
        gradient_checkpointing=False,
        precision="fp32",
        sequence_length=16,
        trainable_parameters=1,
        parameters={},
    )
    plan = Plan(
        facts=Facts(
            task="classification",
            models=(facts,),
            data=DataFacts(rows=166, train_rows=96),
            hardware=HardwareFacts(
                device="cpu", name="CPU", detected=True, gpus=0, memory_gib=8, bf16=False
            ),
            aim=AimSpec(),
        ),
        recommended="lora",
        candidates=(candidate,),
        rejected=(),
        budget=Budget(
            trials=3,
            epochs=2,
            full_tokens=1000,
            search=TIME,
            confirmation=TIME,
            finalists=1,
            confirmation_seeds=3,
        ),
        seed=0,
    )
    spec = Spec(task="classification", models=(ModelSpec(id=model),), data=DataSpec(path=str(data)))
    backend = make(RunFolder(tmp_path / "run"), plan, spec)
    yield backend
    backend.close()


@pytest.fixture
def config(backend, make_config):
    return lambda **changes: make_config(
        model=backend._plan.candidates[0].model, keep_weights=True, **changes
    )


def go_on(report):
    return Decision.CONTINUE


def test_baselines_have_validation_figures_only(backend):
    found = {result.name: result for result in backend.baselines()}
    assert list(found) == ["majority", "tfidf", "probe"]
    assert found["tfidf"].metrics["accuracy"] > 0.9 > found["majority"].metrics["accuracy"]
    assert all(0 < result.validation_loss < 1.2 for result in found.values())
    assert all(result.test_loss is None for result in found.values())
    assert all(not result.test_metrics for result in found.values())


def test_finalists_and_baselines_are_scored_item_by_item(backend, config, tmp_path):
    folder = tmp_path / "attempt"
    folder.mkdir()
    result = backend.train(config(), folder, go_on, lambda: False)
    assert result.state == "COMPLETE"
    score = backend.score_test("trial-3", config(), folder)
    assert (score.name, score.trial, score.seed) == ("trial-3", 3, 0)
    assert len(score.item_scores) == len(score.item_losses) == 30
    assert sum(score.item_scores) / 30 == pytest.approx(score.metrics["accuracy"])
    assert sum(score.item_losses) / 30 == pytest.approx(score.loss)
    baseline = backend.score_test("tfidf", None, None)
    assert (baseline.trial, len(baseline.item_scores)) == (None, 30)
    assert baseline.metrics["accuracy"] > 0.9


def test_scoring_leaves_later_trials_as_they_are(backend, config, tmp_path):
    losses = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        changes = {"strategy": "full"} if name == "a" else {}
        backend.train(config(**changes), tmp_path / name, go_on, lambda: False)
        backend.score_test("x", config(**changes), tmp_path / name)
        set_seed(7)
        (tmp_path / f"{name}-again").mkdir()
        result = backend.train(config(), tmp_path / f"{name}-again", go_on, lambda: False)
        losses.append(result.validation_loss)
    assert losses[0] == losses[1]


def test_a_model_without_weights_here_says_what_to_do(make_workshop):
    facts = make_workshop().facts.model_copy(update={"id": "some/model", "folder": None})
    with pytest.raises(ModelError, match=r"some/model are not on this machine[\s\S]*Download"):
        weights_folder(ModelSpec(id="some/model"), facts)
