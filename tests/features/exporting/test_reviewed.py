"""What is exported for another trainer can be reviewed."""

import json

import pytest

from sweeper.features.exporting._configuration import export_configuration, targets
from sweeper.features.review._reading import read
from sweeper.findings.compute import compute
from sweeper.steps.winner import refit_config

FILES = {"unsloth": "train.py"}
FORMATS = {"unsloth": "trl"}
ROWS = [{"instruction": f"Say the number {n}.", "output": f"It is {n}."} for n in range(60)]


@pytest.mark.parametrize("target", targets())
@pytest.mark.parametrize("strategy", ["lora", "full"])
def test_an_exported_configuration_is_understood_and_says_what_the_trial_did(
    finished, tmp_path, target, strategy
):
    run = finished(ROWS, "--task", "instruction", strategies=strategy)
    config = refit_config(run, 0)
    folder = export_configuration(run, compute(run), config, target, tmp_path / "made").folder
    (read_back,) = read(folder / FILES.get(target, f"{target}.yaml"))
    training = read_back.training
    assert read_back.format == FORMATS.get(target, target)
    assert (read_back.unknown, read_back.problems) == ((), ())
    assert training.method == strategy
    assert training.learning_rate == config.parameters["learning_rate"]
    if strategy == "lora":
        assert training.r == config.parameters["r"]
        assert training.lora_alpha == config.parameters["lora_alpha"]
    assert json.loads(training.model_dump_json())["prompt_loss"] in (False, None)
