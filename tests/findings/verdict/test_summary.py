import yaml

from sweeper.findings.compute import compute
from sweeper.runfolder import RunFolder
from sweeper.spec import TrialRequest


def test_the_configuration_can_be_put_into_a_spec(make):
    findings = compute(make(trials=12))
    loaded = yaml.safe_load(findings.reproduction.trial_yaml)
    own = TrialRequest.model_validate(loaded["trials"][0])
    winner = findings.trials[findings.verdict.recommended_trial]
    assert own.strategy == winner.strategy
    assert own.parameters == dict(winner.config.parameters)


def test_command_repeats_the_run_where_it_is(make, monkeypatch):
    run = make(trials=7, seed=3)
    moved = RunFolder(run.path.rename(run.path.with_name("moved here")))
    monkeypatch.chdir(moved.path.parent)
    found = compute(moved).reproduction
    assert found.command == "sweeper run 'moved here'/sweep.yaml --new"
    assert found.seeds[0] == 0
    assert found.versions["peft"] == "0.21.2"
    assert found.split_rows == {"train": 560, "validation": 120, "test": 120}
