"""lm-eval scores base and adapted models on local files, item by item, without a network."""

import json
from pathlib import Path

import pytest
import torch

lm_eval = pytest.importorskip("lm_eval", reason="pip install 'sweeper[lm-eval]'")

from sweeper.errors import SpecError, UsageError  # noqa: E402
from sweeper.spec import ModelSpec  # noqa: E402
from sweeper.strategies.base import Setting  # noqa: E402
from sweeper.strategies.discovery import strategy as strategy_named  # noqa: E402
from sweeper.suite.definition import read_suite  # noqa: E402
from sweeper.suite.evaluate import _Evaluation  # noqa: E402
from sweeper.suite.lm_eval_tasks import _matches, _prepare, named_tasks  # noqa: E402
from sweeper.suite.scores import EvaluationRequest, ModelScores, TrialToScore  # noqa: E402
from sweeper.training.base_model.keeper import load_base  # noqa: E402
from sweeper.training.trial.artifacts import TrainedRecord, save_trained  # noqa: E402

SUITE = """
tasks:
  choice: {file: choice.jsonl, kind: multiple-choice, fewshot: 1, limit: 6, prompt: "{question}"}
  letters: {file: choice.jsonl, kind: multiple-choice, letters: true, prompt: "{question}"}
  writing: {file: writing.csv, kind: generation, max_new_tokens: 4, prompt: "{question}"}
  program: {file: program.jsonl, kind: code, max_new_tokens: 2}
  reading: {file: reading.txt, kind: text}
"""
PARAMETERS = {
    "lora": {"r": 4, "lora_alpha": 8, "target_modules": "qkvo", "learning_rate": 1e-3},
    "prefix": {"num_virtual_tokens": 3, "learning_rate": 1e-2, "prefix_init": "random"},
    "ptuning": {"num_virtual_tokens": 3, "learning_rate": 1e-2, "encoder_hidden_size": 16},
    "full": {"learning_rate": 1e-4},
}


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    rows = [
        {"question": f"the {word}", "choices": ["apple iron", "nile"], "answer": index % 2}
        for index, word in enumerate(
            ("apple", "pear", "plum", "iron", "zinc", "gold", "nile", "rhine", "volga")
        )
    ]
    (tmp_path / "choice.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "writing.csv").write_text("question,answer\nold apple,pear\nnew iron,zinc\n")
    program = {"prompt": "x = 1\n", "tests": "assert x == 1"}
    (tmp_path / "program.jsonl").write_text(json.dumps(program))
    (tmp_path / "reading.txt").write_text("the old nile\n\na big pear near the new iron\n")
    path = tmp_path / "suite.yaml"
    path.write_text(SUITE)
    return path


@pytest.fixture
def trained_llama(model_folders, tmp_path):
    """Saves a strategy's weights, moved away from where they start."""

    def make(name: str) -> Path:
        base = load_base(model_folders["llama"], "CAUSAL_LM", torch.float32, torch.device("cpu"))
        strategy = strategy_named(name)
        setting = Setting(task_type="CAUSAL_LM", precision="fp32")
        model = strategy.apply(base, PARAMETERS[name], setting)
        torch.manual_seed(1)
        for weight in model.parameters():
            if weight.requires_grad:
                weight.data.add_(torch.randn_like(weight))
        record = TrainedRecord(
            task="instruction", strategy=name, parameters=PARAMETERS[name],
            base_model="tiny", base_dtype="float32", sequence_length=16,
        )  # fmt: skip
        folder = tmp_path / name / "weights"
        save_trained(folder, model, strategy, record)
        return folder

    return make


@pytest.fixture(autouse=True)
def _tokenizer_that_ends_texts(model_folders):
    """lm-eval needs an end of text; what is trained does not."""
    path = model_folders["llama"] / "tokenizer_config.json"
    before = path.read_text()
    path.write_text(json.dumps(json.loads(before) | {"eos_token": "[SEP]", "bos_token": "[CLS]"}))
    yield
    path.write_text(before)


@pytest.fixture
def request_for(suite, model_folders, tmp_path, facts_of_llama):
    def make(*trials: TrialToScore, **changes) -> EvaluationRequest:
        folder = model_folders["llama"]
        return EvaluationRequest(
            suite=read_suite(suite),
            folder=str(tmp_path / "evaluations"),
            models=(ModelSpec(id=str(folder)),),
            facts=(facts_of_llama,),
            trials=trials,
            bases=(str(folder),),
            run_generated_code=True,
            **changes,
        )

    return make


@pytest.fixture
def facts_of_llama(make_shared):
    return make_shared("llama").context.facts


def _trial(number: int, name: str, model: str, weights: Path) -> TrialToScore:
    return TrialToScore(number=number, model=model, strategy=name, weights=str(weights))


def test_base_and_every_kind_of_adapter_are_scored_on_the_same_items(
    request_for, trained_llama, model_folders, tmp_path, capfd, sweeper_home
):
    model = str(model_folders["llama"])
    names = list(PARAMETERS)
    trials = [_trial(i, name, model, trained_llama(name)) for i, name in enumerate(names)]
    _Evaluation(request_for(*trials)).run()

    kept = tmp_path / "evaluations"
    base = ModelScores.read(next(kept.glob("base-*.json")))
    tuned = [ModelScores.read(kept / f"trial-{i}.json") for i in range(len(names))]
    assert [task.task for task in base.tasks] == [
        "choice", "letters", "writing", "program", "reading",
    ]  # fmt: skip
    assert [len(task.scores) for task in base.tasks] == [6, 9, 2, 1, 2]
    assert [task.total_items for task in base.tasks] == [9, 9, 2, 1, 2]
    assert base.tasks[0].shots == 1
    assert base.tasks[4].unit == "nats/token"
    assert base.tasks[4].weights == (3.0, 7.0)
    for scores in tuned:
        for task in scores.tasks:
            same = base.task(task.task, task.digest)
            assert same is not None
            assert same.keys == task.keys
        # What was trained is in it: another loss on the same text.
        assert scores.tasks[4].scores != base.tasks[4].scores

    said = capfd.readouterr().out.splitlines()
    for name in ("choice", "letters", "writing", "program", "reading"):
        assert any(line.startswith(f"PROGRESS scoring trial 0 on {name} 0 ") for line in said)

    # Nothing is scored twice, and another run takes the base's scores over.
    _Evaluation(request_for(*trials)).run()
    other = request_for().model_copy(update={"folder": str(tmp_path / "other")})
    _Evaluation(other).run()
    assert capfd.readouterr().out == ""
    assert ModelScores.read(next((tmp_path / "other").glob("base-*.json"))).tasks == base.tasks


@pytest.mark.parametrize("name", [None, "lora", "prefix"])
def test_requests_are_counted_as_they_are_answered(
    request_for, trained_llama, model_folders, heard, tmp_path, monkeypatch, name
):
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path / "home"))  # no other test has scored the base
    model = str(model_folders["llama"])
    trials = [] if name is None else [_trial(0, name, model, trained_llama(name))]
    evaluation = _Evaluation(request_for(*trials))
    evaluation._underway = heard.underway
    evaluation.run()
    subject = "base" if name is None else "trial 0"
    requests = {"choice": 12, "letters": 18, "writing": 2, "program": 1, "reading": 2}
    for task, count in requests.items():
        what = f"scoring {subject} on {task}"
        steps = heard.of(what)
        assert steps == sorted(steps)
        assert (steps[0], {of for said, _, of in heard if said == what}) == (0, {count})
        assert steps[-1] == 0 if count == 1 else 0 < steps[-1] < count


def test_the_loss_of_a_text_is_the_models_own(request_for, model_folders, tmp_path, suite):
    suite.write_text("tasks: {reading: {file: reading.txt, kind: text}}")
    _Evaluation(request_for()).run()
    (task,) = ModelScores.read(next((tmp_path / "evaluations").glob("base-*.json"))).tasks
    model = load_base(model_folders["llama"], "CAUSAL_LM", torch.float32, torch.device("cpu"))
    words = ["[CLS]", "the", "old", "nile"]
    vocabulary = json.loads((model_folders["llama"] / "tokenizer.json").read_text())["model"]
    ids = torch.tensor([[vocabulary["vocab"][word] for word in words]])
    with torch.no_grad():
        chances = model(ids).logits[0, :-1].log_softmax(-1)
    loss = -chances.gather(1, ids[0, 1:, None]).mean()
    assert task.scores[0] == pytest.approx(float(loss), rel=1e-4)


def test_code_is_judged_by_its_tests_behind_walls(request_for, tmp_path, suite):
    rows = [
        {"prompt": "x = 1\n", "tests": "assert True"},
        {"prompt": "x = 1\n", "tests": "assert False"},
    ]
    (tmp_path / "program.jsonl").write_text("\n".join(map(json.dumps, rows)))
    suite.write_text("tasks: {p: {file: program.jsonl, kind: code, max_new_tokens: 1}}")
    _Evaluation(request_for()).run()
    task = ModelScores.read(next((tmp_path / "evaluations").glob("base-*.json"))).tasks[0]
    assert task.metric == "pass@1"
    assert task.scores[1] == 0.0


@pytest.mark.parametrize(
    ("keys", "output", "right"),
    [
        ({"answer_pattern": r"#### (\S+)"}, "so 9 + 9\n#### 18", True),
        ({"answer_pattern": r"#### (\S+)"}, "so 9 + 9 is 18", False),
        ({"answer_pattern": r"#### (\S+)", "output_pattern": r"\d[\d,.]*"}, "it is $18.00.", True),
        ({}, " 2 * 9\n#### 18 ", True),
        ({}, "#### 18", False),
    ],
)
def test_an_answer_matches_as_number_or_as_text(suite, keys, output, right):
    task = read_suite(suite).tasks["writing"].model_copy(update=keys)
    assert _matches(task, {"answer": "2 * 9\n#### 18"}, output) is right


class _CodeTask:
    """What the replacement of lm-eval's own running of code relies on."""

    UNSAFE_CODE = True

    def __init__(self):
        self.config = {"num_fewshot": 0}

    def get_config(self, key):
        return self.config.get(key)

    def set_config(self, key, value):
        self.config[key] = value

    def set_fewshot_seed(self, seed):
        self.seed = seed

    def doc_to_target(self, doc):
        return doc["test"]


def test_code_tasks_by_name_run_behind_walls_and_with_permission_only(suite):
    asked, task = read_suite(suite).tasks["writing"], _CodeTask()
    with pytest.raises(UsageError, match="--run-generated-code"):
        _prepare(task, asked, "humaneval", run_generated_code=False)
    _prepare(task, asked, "humaneval", run_generated_code=True)
    judge = task.config["process_results"]
    assert judge({"test": "assert x == 1"}, [["x = 1"]]) == {"score": 1.0}
    assert judge({"test": "assert x == 1"}, ["x = 2"]) == {"score": 0.0}


def test_names_need_the_hub_and_are_checked(suite):
    task = read_suite(suite).tasks["writing"]
    named = task.model_copy(update={"lm_eval": "arc_easi", "file": None})
    with pytest.raises(SpecError, match="Did you mean 'arc_easy'"):
        named_tasks("arc", named, run_generated_code=False)
    known = task.model_copy(update={"lm_eval": "arc_easy", "file": None})
    with pytest.raises(UsageError, match="cannot be reached") as caught:
        named_tasks("arc", known, run_generated_code=False)
    assert "describe a local file" in caught.value.problems[0].fix
