"""What a command prints with ``--json`` fits the schema that is published for it."""

import json

import jsonschema
import pytest

from sweeper.features.schemas._schemas import answer_schema, answers

pytestmark = pytest.mark.usefixtures("preloaded")
PLAN = "--task classification --model 7B --gpu-memory 24 --data rows.jsonl"


@pytest.fixture
def place(here, make_run):
    rows = [{"text": f"row {n} of it", "label": "ab"[n % 2]} for n in range(60)]
    (here / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[3]]))
    (here / "train.yaml").write_text("base_model: gpt2\nadapter: qlora\nlora_r: 8\n")
    make_run(name="demo", trials=4)


CALLS = {
    "plan": f"plan {PLAN} --json",
    "plan --rent": f"plan {PLAN.replace('--gpu-memory 24', '--rent')} --json",
    "explain": "explain demo --json",
    "rules": "rules --json",
    "memory": "memory --model gpt2 --strategy lora --gpu-memory 24 --json",
    "ledger": "ledger --json",
    "report": "report demo --json",
    "show": "show demo --json",
    "review": "review train.yaml --json --fail-on never",
    "data check": "data check rows.jsonl --json",
    "data fix": "data fix rows.jsonl --all-safe -o new.jsonl --json",
    "data split": "data split rows.jsonl -o split --json",
    "data convert": "data convert rows.jsonl --to messages -o chat.jsonl --json",
    "data prompts": "data prompts --task classification --data rows.jsonl -o p.jsonl --json",
}


@pytest.mark.parametrize("command", CALLS)
def test_an_answer_fits_its_schema(place, sweeper, command):
    name = "rules --json" if command == "rules" else command
    schema = json.loads(sweeper("schema", name).out)
    assert schema == answer_schema(command)
    jsonschema.Draft202012Validator.check_schema(schema)
    done = sweeper(*CALLS[command].split())
    assert done.code == 0, done.err
    jsonschema.validate(json.loads(done.out), schema)


def test_every_published_answer_is_tried():
    """The others are tried where they are tested, as they train or need texts."""
    evaluate = {"evaluate suite", "evaluate human", "evaluate ratings"}
    assert set(answers()) - {"run", "predict", "refit", "export", *evaluate} == set(CALLS)


def test_a_line_of_predictions_fits_its_schema(sweeper):
    schema = json.loads(sweeper("schema", "predict").out)
    jsonschema.validate({"row": 1, "label": "a", "probabilities": {"a": 0.9, "b": 0.1}}, schema)
    jsonschema.validate({"output": "out.jsonl", "rows": 3}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"label": "a"}, schema)


def test_a_conversion_says_what_it_left_out(here, sweeper):
    rows = [{"text": f"row {n}", "label": "ab"[n % 2], "prompt": "x"} for n in range(60)]
    rows[6]["text"] = ""
    (here / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = sweeper("data", "convert", "rows.jsonl", "--task", "classification", "--to", "messages",
                   "-o", "chat.jsonl", "--json")  # fmt: skip
    made = json.loads(done.out)
    assert made["files"] == ["chat.jsonl"]
    assert (made["format"], made["rows"]) == ("messages", 59)
    assert list(made["left_out"].values()) == [[7]]
    assert made["left_columns"] == ["prompt"]


def test_the_json_of_a_report_is_that_of_one_run(here, make_run, sweeper):
    for name in ("one", "two"):
        make_run(name=name, trials=4)
    assert sweeper("report", "one", "two", "--json").code == 2
    assert json.loads(sweeper("report", "one", "--json").out)["run"]["name"] == "one"
