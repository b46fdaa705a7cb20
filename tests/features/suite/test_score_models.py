"""lm-eval scores base and adapted models on local files, item by item, without a network."""

import json
from pathlib import Path

import pytest
import torch

lm_eval = pytest.importorskip("lm_eval", reason="pip install 'finetune-sweeper[suite]'")

from bitsandbytes.nn import Linear4bit  # noqa: E402
from scenes import make_scene  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

from sweeper.errors import UsageError  # noqa: E402
from sweeper.evaluation.task_scores import ModelScores  # noqa: E402
from sweeper.features.suite import _score_models  # noqa: E402
from sweeper.features.suite._score_models import _Evaluation  # noqa: E402
from sweeper.features.suite._scoring import (  # noqa: E402
    EvaluationRequest,
    Subject,
    _quantized_candidate,
)
from sweeper.features.suite.facts import suite_facts  # noqa: E402
from sweeper.metrics.programs import PERMISSION  # noqa: E402
from sweeper.planning.planner import make_plan  # noqa: E402
from sweeper.spec import ModelSpec  # noqa: E402
from sweeper.strategies.strategy import Setting  # noqa: E402
from sweeper.strategies.strategy import strategy as strategy_named  # noqa: E402
from sweeper.training.base_model.base_lender import load_base  # noqa: E402
from sweeper.training.trial.artifacts import TrainedRecord, save_trained  # noqa: E402
from sweeper.training.trial.reload import _task  # noqa: E402

CHOICE = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: choice.jsonl}}
test_split: train
fewshot_split: train
fewshot_config: {{sampler: first_n}}
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_target: answer
metric_list: [{{metric: {metric}, aggregation: mean, higher_is_better: true}}]
"""
WRITING = """
task: {name}
dataset_path: {format}
dataset_kwargs: {{data_files: {file}}}
test_split: train
output_type: generate_until
doc_to_text: "{text}"
doc_to_target: "{target}"
generation_kwargs: {{until: ["\\n\\n"], max_gen_toks: {tokens}, do_sample: false}}
metric_list: [{{metric: {metric}, aggregation: mean, higher_is_better: true}}]
"""
CODE = """
unsafe_code: true
filter_list:
  - name: create_test
    filter: [{function: custom, filter_fn: !function sweeper.metrics.programs.build_predictions}]
"""
TASKS = {
    "choice": CHOICE.format(name="choice", metric="acc_norm")
    + "doc_to_choice: choices\nnum_fewshot: 1\nmetadata: {limit: 6}\n",
    "letters": CHOICE.format(name="letters", metric="acc") + "doc_to_choice: [A, B]\n",
    "program": WRITING.format(
        name="program", format="json", file="program.jsonl", text="{{prompt}}", target="{{tests}}",
        tokens=2, metric="!function sweeper.metrics.programs.pass_at_1",
    ) + CODE,
    "reading": """
task: reading
dataset_path: json
dataset_kwargs: {data_files: reading.jsonl}
test_split: train
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}]
""",
    "writing": WRITING.format(
        name="writing", format="csv", file="writing.csv", text="{{question}}",
        target="{{answer}}", tokens=4, metric="exact_match",
    ),
}  # fmt: skip
PARAMETERS = {
    "lora": {"r": 4, "lora_alpha": 8, "target_modules": "qkvo", "learning_rate": 1e-3},
    "prefix": {"num_virtual_tokens": 3, "learning_rate": 1e-2, "prefix_init": "random"},
    "ptuning": {"num_virtual_tokens": 3, "learning_rate": 1e-2, "encoder_hidden_size": 16},
    "full": {"learning_rate": 1e-4},
}


@pytest.fixture(autouse=True)
def _permission(monkeypatch):
    monkeypatch.setenv(PERMISSION, "1")


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A folder of tasks over local files."""
    folder = tmp_path / "suite"
    folder.mkdir()
    rows = [
        {"question": f"the {word}", "choices": ["apple iron", "nile"], "answer": index % 2}
        for index, word in enumerate(
            ("apple", "pear", "plum", "iron", "zinc", "gold", "nile", "rhine", "volga")
        )
    ]
    (folder / "choice.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "writing.csv").write_text("question,answer\nold apple,pear\nnew iron,zinc\n")
    program = {"prompt": "x = 1\n", "tests": "assert x == 1"}
    (folder / "program.jsonl").write_text(json.dumps(program))
    texts = [{"text": "the old nile"}, {"text": "a big pear near the new iron"}]
    (folder / "reading.jsonl").write_text("\n".join(map(json.dumps, texts)))
    for name, content in TASKS.items():
        (folder / f"{name}.yaml").write_text(content)
    return folder


@pytest.fixture
def trained_llama(model_folders, facts_of_llama, tmp_path):
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
            base_model=facts_of_llama.id, base_dtype="float32", sequence_length=16,
            facts=facts_of_llama,
        )  # fmt: skip
        folder = tmp_path / name / "weights"
        tokenizer = AutoTokenizer.from_pretrained(model_folders["llama"])
        save_trained(folder, model, strategy, record, _task(record, tokenizer))
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
    def make(*trials: dict[str, object], task: str = "", **of_base: str) -> EvaluationRequest:
        spec = ModelSpec(id=str(model_folders["llama"]))
        base = Subject(**{"spec": spec, "facts": facts_of_llama, "dtype": "float32", **of_base})
        return EvaluationRequest(
            suite=str(suite / f"{task}.yaml" if task else suite),
            folder=str(tmp_path / "evaluations"),
            subjects=(base, *(base.model_copy(update=trial) for trial in trials)),
            run_generated_code=True,
        )

    return make


@pytest.fixture
def facts_of_llama(make_shared):
    return make_shared("llama").context.facts


def test_base_and_every_kind_of_adapter_are_scored_on_the_same_items(
    request_for, trained_llama, tmp_path, capfd, sweeper_home
):
    names = list(PARAMETERS)
    trials = [
        {"trial": number, "strategy": name, "weights": str(trained_llama(name))}
        for number, name in enumerate(names)
    ]
    _Evaluation(request_for(*trials), tmp_path).run()

    kept = tmp_path / "evaluations"
    base = ModelScores.read(next(kept.glob("base-*.json")))
    tuned = [ModelScores.read(kept / f"trial-{i}.json") for i in range(len(names))]
    assert [task.task for task in base.tasks] == [
        "choice", "letters", "program", "reading", "writing",
    ]  # fmt: skip
    assert [len(task.scores) for task in base.tasks] == [6, 9, 1, 2, 2]
    assert [task.total_items for task in base.tasks] == [9, 9, 1, 2, 2]
    metrics = ["acc_norm", "acc", "pass@1", "loss", "exact_match"]
    assert [task.metric for task in base.tasks] == metrics
    assert [task.shots for task in base.tasks] == [1, 0, 0, 0, 0]
    assert base.tasks[3].unit == "nats/token"
    assert base.tasks[3].weights == (3.0, 7.0)
    for scores in tuned:
        for task in scores.tasks:
            same = base.task(task.task, task.digest)
            assert same is not None
            assert same.keys == task.keys
        # What was trained is in it: another loss on the same text.
        assert scores.tasks[3].scores != base.tasks[3].scores

    # Nothing is scored twice, and another run takes the base's scores over.
    capfd.readouterr()
    _Evaluation(request_for(*trials), tmp_path).run()
    other = request_for().model_copy(update={"folder": str(tmp_path / "other")})
    _Evaluation(other, tmp_path).run()
    assert capfd.readouterr().out == ""
    assert ModelScores.read(next((tmp_path / "other").glob("base-*.json"))).tasks == base.tasks


def test_a_check_measures_what_the_plan_reads_from_the_files(request_for, suite, tmp_path):
    request = request_for()
    request = request.model_copy(update={"subjects": ()})
    checked = {task.name: task for task in _Evaluation(request, tmp_path).run().tasks}
    read = {task.name: task for task in suite_facts(suite).tasks}
    assert checked.keys() == read.keys() == TASKS.keys()
    for name, task in checked.items():
        for field in ("output_type", "items", "requests", "shots", "max_new_tokens"):
            assert getattr(task, field) == getattr(read[name], field), (name, field)
        assert 0.3 < task.prompt_tokens / read[name].prompt_tokens < 3


def test_the_loss_of_a_text_is_the_models_own(request_for, model_folders, tmp_path):
    _Evaluation(request_for(task="reading"), tmp_path).run()
    (task,) = ModelScores.read(next((tmp_path / "evaluations").glob("base-*.json"))).tasks
    model = load_base(model_folders["llama"], "CAUSAL_LM", torch.float32, torch.device("cpu"))
    words = ["[CLS]", "the", "old", "nile"]
    vocabulary = json.loads((model_folders["llama"] / "tokenizer.json").read_text())["model"]
    ids = torch.tensor([[vocabulary["vocab"][word] for word in words]])
    with torch.no_grad():
        chances = model(ids).logits[0, :-1].log_softmax(-1)
    loss = -chances.gather(1, ids[0, 1:, None]).mean()
    assert task.scores[0] == pytest.approx(float(loss), rel=1e-4)


def test_code_is_judged_by_its_tests_in_the_sandbox(request_for, tmp_path, suite):
    rows = [
        {"prompt": "x = 1\n#", "tests": "assert x == 1"},
        {"prompt": "x = 1\n#", "tests": "assert x == 2"},
    ]
    (suite / "program.jsonl").write_text("\n".join(map(json.dumps, rows)))
    _Evaluation(request_for(task="program"), tmp_path).run()
    (task,) = ModelScores.read(next((tmp_path / "evaluations").glob("base-*.json"))).tasks
    assert task.metric == "pass@1"
    assert task.scores == (1.0, 0.0)


def test_progress_is_counted_in_items(request_for, tmp_path, monkeypatch):
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path))  # nothing is scored there yet
    monkeypatch.setattr("sweeper.backend._MIN_REPORT_SECONDS", 0.0)
    told = []
    monkeypatch.setattr(_score_models, "tell_progress", lambda *state: told.append(state))
    _Evaluation(request_for(), tmp_path).run()
    assert ("letters of base", 4, 9) in told
    for name, items in {"choice": 6, "letters": 9, "reading": 2, "writing": 2}.items():
        mine = [state for state in told if state[0] == f"{name} of base"]
        assert mine[-1][1:] == (items, items)


def test_a_request_without_models_checks_the_suite(request_for, tmp_path, suite, capfd):
    request = request_for().model_copy(update={"subjects": ()})
    _Evaluation(request, tmp_path).run()
    assert capfd.readouterr().out == ""
    (suite / "choice.jsonl").unlink()
    with pytest.raises(UsageError, match=r"choice\.jsonl"):
        _Evaluation(request, tmp_path)


def test_a_task_without_a_score_of_single_items_is_refused(request_for, tmp_path, suite):
    path = suite / "letters.yaml"
    path.write_text(path.read_text().replace("acc, aggregation: mean", "f1, aggregation: f1"))
    with pytest.raises(UsageError):
        _Evaluation(request_for(task="letters"), tmp_path).run()


def test_outputs_must_fit_the_model(request_for, tmp_path, suite):
    path = suite / "writing.yaml"
    path.write_text(path.read_text().replace("max_gen_toks: 4", "max_gen_toks: 4000"))
    with pytest.raises(UsageError, match="4000"):
        _Evaluation(request_for(task="writing"), tmp_path).run()


def test_a_base_that_fits_in_four_bits_alone_is_scored_in_four_bits(request_for, tmp_path):
    plain, packed = (
        request_for(task="reading", dtype="bfloat16", quantized=strategy).subjects[0]
        for strategy in ("", "qlora")
    )
    loaded = _score_models._load(packed, torch.device("cpu"))
    assert sum(isinstance(module, Linear4bit) for module in loaded.modules()) == 2 * 7
    of_plain, of_packed = (_score_models.score_files(base, tmp_path) for base in (plain, packed))
    assert of_plain != of_packed  # scores are not taken for each other


@pytest.mark.parametrize(("model", "strategy"), [("7B", None), ("70B", "qlora")])
def test_a_request_says_which_base_fits_in_four_bits_alone(model, strategy):
    plan = make_plan(*make_scene(model=model, gpu_gib=80.0))
    found = _quantized_candidate(plan, model)
    assert (found.strategy if found else None) == strategy
    assert _quantized_candidate(plan, "another") is None
