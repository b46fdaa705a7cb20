"""``sweeper schema``: what a plan writes fits it, and a mistake does not."""

import json

import jsonschema
import pytest
import yaml

from sweeper.features.schemas._schemas import answer_schema, rules_schema
from sweeper.planning.rulebook.book import rule_book


def test_schemas_are_json_schemas(sweeper):
    for kind in ("sweep", "rules", "strategy", "parameters"):
        schema = json.loads(sweeper("schema", kind).out)
        assert schema["$schema"].startswith("https://json-schema.org/")
    assert sweeper("schema", "rule").code == 2


def test_rules_are_files_and_a_command(sweeper):
    of_files = json.loads(sweeper("schema", "rules").out)
    assert of_files == rules_schema(rule_book())
    assert json.loads(sweeper("schema", "rules --json").out) == answer_schema("rules")


def test_what_a_plan_writes_fits_the_schema_and_a_slip_does_not(sweeper, here):
    flags = ("--task", "code", "--examples", "2000", "--gpu-memory", "24", "--model", "7B")
    assert sweeper("plan", *flags, "-o", "sweep.yaml").code == 0
    schema = json.loads(sweeper("schema", "sweep").out)
    written = yaml.safe_load((here / "sweep.yaml").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(written, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(written | {"traning": {"epochs": 3}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(written | {"task": "coding"}, schema)
