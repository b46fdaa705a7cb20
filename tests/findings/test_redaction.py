import yaml

from sweeper.findings.compute import compute
from sweeper.findings.redaction import clean
from sweeper.spec import OwnTrial


def test_homes_tokens_and_passwords_are_taken_out():
    cases = {
        "/home/ann/data/x.jsonl": "~/data/x.jsonl",
        "in /Users/ann/x": "in ~/x",
        "/root/x": "~/x",
        r"C:\Users\ann\x": r"~\x",
        "token=hf_AbCdEfGhIjKlMn": "token=hf_***",
        "postgresql://u:p4ss@host/db": "postgresql://u:***@host/db",
        "/rootless/x": "/rootless/x",
        "https://example.org/home": "https://example.org/home",
    }
    assert {text: clean(text) for text in cases} == cases


def test_no_home_path_leaves_with_the_findings(make):
    run = make(trials=6, ends={0: "FAIL"}, detail="cannot open /home/ann/secret/model.bin")
    run.spec.write_text(
        "data:\n  path: /home/ann/rows.jsonl\nsearch:\n  storage: postgresql://u:p4ss@h/d\n"
    )
    text = compute(run).to_json()
    assert "/home" not in text
    assert "p4ss" not in text
    assert "~/secret/model.bin" in text


def test_the_configuration_can_be_put_into_a_spec(make):
    findings = compute(make(trials=12))
    loaded = yaml.safe_load(findings.reproduction.train_command)
    own = OwnTrial.model_validate(loaded["trials"][0])
    winner = findings.trials[findings.verdict.recommended_trial]
    assert own.strategy == winner.strategy
    assert own.parameters == dict(winner.parameters)


def test_command_repeats_the_run(make):
    found = compute(make(trials=7, seed=3)).reproduction
    assert found.command == "sweeper run sweep.yaml --name docstrings --trials 7 --seed 3"
    assert found.seeds[0] == 0
    assert found.versions["peft"] == "0.21.2"
    assert found.split_rows == {"train": 560, "validation": 120, "test": 120}
