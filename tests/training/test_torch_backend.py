"""The backend as a worker sees it: data from files, baselines, trials, the sealed test split."""

import numpy as np
import pytest
import torch
from transformers import set_seed

from sweeper.backend import Decision
from sweeper.errors import ModelError
from sweeper.facts.record import TrainingSetup
from sweeper.runfolder import RunFolder
from sweeper.spec import ModelSpec
from sweeper.training.base_model.weights import weights_folder
from sweeper.training.torch_backend import _untrained_precision, make
from sweeper.traits.traits import StrategyOnModel


def go_on(report):
    return Decision.CONTINUE


def test_baselines_have_validation_figures_only(backend):
    found = {result.name: result for result in backend.baselines()}
    for one in found.values():
        mean = np.average(one.item_losses, weights=one.item_weights)
        assert mean == pytest.approx(one.validation_loss)
    assert list(found) == ["majority", "tfidf", "probe"]
    assert found["tfidf"].metrics["accuracy"] > 0.9 > found["majority"].metrics["accuracy"]
    assert all(0 < result.validation_loss < 1.2 for result in found.values())


def test_finalists_and_baselines_are_scored_item_by_item(backend, config, tmp_path):
    folder = tmp_path / "attempt"
    folder.mkdir()
    result = backend.train(config(), folder, go_on, lambda: False)
    assert result.state == "COMPLETE"
    score = backend.score_test("trial-3", config(), folder)
    assert (score.name, score.trial, score.seed) == ("trial-3", 3, 0)
    assert len(score.item_scores) == len(score.item_losses) == 30
    assert sum(score.item_scores) / 30 == pytest.approx(score.metrics["accuracy"])
    assert sum(score.item_losses) / 30 == pytest.approx(score.test_loss)
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


@pytest.mark.parametrize(("share", "taken"), [("0.5000", [0.5]), (None, [])])
def test_a_worker_takes_no_more_than_its_share_of_a_gpu(backend, monkeypatch, share, taken):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    fractions = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", fractions.append)
    monkeypatch.delenv("SWEEPER_GPU_SHARE", raising=False)
    if share is not None:
        monkeypatch.setenv("SWEEPER_GPU_SHARE", share)
    make(RunFolder(backend._run), backend._plan, backend._spec, lambda *_: None)
    assert fractions == taken


@pytest.mark.parametrize(
    ("device", "precision", "dtype"),
    [
        ("cuda", "fp16-mixed", torch.float16),
        ("cuda", "bf16-mixed", torch.bfloat16),
        ("cuda", "fp32", torch.float32),
        ("cpu", "bf16-mixed", torch.float32),
    ],
)
def test_an_untrained_base_is_scored_in_a_form_that_fits(backend, device, precision, dtype):
    candidate = backend._plan.candidates[0]
    setup = candidate.setup.model_copy(update={"precision": precision})
    candidate = candidate.model_copy(update={"setup": setup})
    assert _untrained_precision(candidate, torch.device(device)) == (dtype, None)


def test_where_only_a_quantised_base_fits_the_untrained_one_is_quantised(backend):
    setup = TrainingSetup(quantization="nf4-dq", precision="fp16-mixed")
    candidate = backend._plan.candidates[0].model_copy(
        update={"strategy": StrategyOnModel("qlora"), "setup": setup}
    )
    dtype, quantized = _untrained_precision(candidate, torch.device("cuda"))
    assert dtype == quantized.bnb_4bit_compute_dtype == torch.float16
    assert (quantized.load_in_4bit, quantized.bnb_4bit_quant_type) == (True, "nf4")


def test_a_model_without_weights_here_says_what_to_do(make_shared):
    facts = make_shared().context.facts.model_copy(update={"id": "some/model", "folder": None})
    with pytest.raises(ModelError, match="some/model"):
        weights_folder(ModelSpec(id="some/model"), facts)


def test_a_model_is_loaded_from_where_the_request_leads_under_its_name_in_the_plan(backend):
    plan, typed = backend._plan, "./base"
    candidates = tuple(one.model_copy(update={"model": typed}) for one in plan.candidates)
    models = tuple(one.model_copy(update={"id": typed}) for one in plan.facts.models)
    facts = plan.facts.model_copy(update={"models": models})
    backend._plan = plan.model_copy(update={"candidates": candidates, "facts": facts})
    context = backend.shared(typed).context
    assert (context.facts.id, str(context.folder)) == (typed, backend._spec.models[0].id)


def test_a_point_of_the_data_curve_trains_on_its_rows_alone(backend, config, tmp_path):
    tmp_path.joinpath("part").mkdir()
    point = config(train_rows=12)
    result = backend.train(point, tmp_path / "part", go_on, lambda: False)
    assert result.state == "COMPLETE"
    whole, part = backend.shared(point.model).context, backend.shared_for(point).context
    assert len(part.items("train")) == 12 < len(whole.items("train"))
    assert result.tokens == point.budget.epochs * sum(part.items("train").lengths)
    # All are scored on the same items.
    assert part.items("validation") is whole.items("validation")
