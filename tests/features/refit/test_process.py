"""A refit trains on the rows that were held out, and leaves a model that answers."""

import shutil
from pathlib import Path

import pytest

from sweeper.artifact import Record
from sweeper.child_process import in_child
from sweeper.data.examples import SPLITS
from sweeper.data.load import load
from sweeper.errors import DataError
from sweeper.features.refit._process import _probe_strength, _with_held_out, refit
from sweeper.features.refit._refit import TRAIN, RefitRequest
from sweeper.runfolder import RunFolder
from sweeper.specfile import to_yaml
from sweeper.training.checkpoints import seal
from sweeper.training.trial import train
from sweeper.use.trained_model import load as load_model

pytestmark = pytest.mark.usefixtures("preloaded")


@pytest.fixture
def asked(backend, config, tmp_path):
    """Makes a request for a run whose plan and spec lie in its folder."""
    run = RunFolder(tmp_path / "run")
    run.path.mkdir(exist_ok=True)
    plan, spec = backend._plan, backend._spec
    fingerprint = load(spec.data, spec.task).fingerprint
    data = plan.facts.data.model_copy(update={"fingerprint": fingerprint})
    facts = plan.facts.model_copy(update={"data": data})
    plan.model_copy(update={"facts": facts}).write(run.plan)
    run.spec.write_text(to_yaml(spec))

    def make(splits=("train", "validation"), **changes):
        budget = {"epochs": 1, "rungs": 4, "choose_rung": False}
        return RefitRequest(
            run=str(run.path),
            config=config(budget=budget, **changes),
            splits=splits,
            folder=str(run.path / "refit" / "0"),
            card="\n## More rows\n",
        )

    return make


def test_a_refit_runs_in_a_process_of_its_own_and_leaves_a_model_that_predicts(asked):
    request = asked()
    left = Path(request.folder + ".part")
    (left / "weights").mkdir(parents=True)
    (left / "weights" / "half").write_text("")
    progress = []
    in_child(TRAIN, request, Record, what="it", work=lambda *state: progress.append(state))
    assert "training" in {what for what, *_ in progress}
    folder = Path(request.folder)
    assert {path.name for path in folder.iterdir()} == {"refit.json", "trainer.log", "weights"}
    assert not (folder / "weights" / "half").exists()
    assert not left.exists()
    assert RefitRequest.read(folder / "refit.json") == request
    assert (folder / "weights" / "README.md").read_text().endswith("## More rows\n")
    (prediction,) = load_model(folder / "weights", "cpu").predict(["the gold"])
    assert set(prediction.probabilities) == {"fruit", "metal", "river"}


def test_a_refit_that_was_cut_off_goes_on_from_its_checkpoint_to_the_same_weights(
    asked, monkeypatch
):
    request = asked(checkpoints=True)
    folder, weights = Path(request.folder), "weights/adapter/adapter_model.safetensors"
    refit(request)
    whole = (folder / weights).read_bytes()
    shutil.rmtree(folder)

    def cut_off(left, manifest, to):
        if manifest.rung == 3:
            raise KeyboardInterrupt
        seal(left, manifest, to)

    with monkeypatch.context() as patch:
        patch.setattr(train, "seal", cut_off)
        with pytest.raises(KeyboardInterrupt):
            refit(request)
    left = {path.name for path in Path(request.folder + ".part").iterdir()}
    assert left == {"checkpoint-2", ".unfinished-checkpoint", "trainer.log"}
    refit(request)
    assert (folder / weights).read_bytes() == whole
    assert "continues from checkpoint-2" in (folder / "trainer.log").read_text()
    assert {path.name for path in folder.iterdir()} == {"refit.json", "trainer.log", "weights"}


def test_a_checkpoint_of_fewer_splits_is_not_gone_on_from(asked, backend):
    of_two, of_three = (_with_held_out(backend._dataset, asked(splits=s)).fingerprint
                        for s in (("train", "validation"), SPLITS))  # fmt: skip
    assert of_two != of_three


def test_held_out_rows_are_trained_on_and_changed_data_is_refused(asked, backend):
    request = asked(splits=("train", "validation", "test"))
    data = backend._dataset
    assert len(_with_held_out(data, request).splits["train"]) == 96 + 40 + 30
    with (Path(data.path) / "train.jsonl").open("a") as rows:
        rows.write('\n{"text": "one more gold", "label": "metal"}')
    with pytest.raises(DataError):
        refit(request)
    assert not Path(request.folder).parent.exists()


def test_a_linear_fit_keeps_the_regularisation_that_held_out_rows_chose(asked, backend):
    request = asked(strategy="head", parameters={})
    chosen = backend.shared(request.config.model).frozen_features.probe_for({}).probe.strength
    assert _probe_strength(request, backend) == (chosen,)
    assert _probe_strength(asked(), backend) == ()
