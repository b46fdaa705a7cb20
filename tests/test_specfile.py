"""sweep.yaml and flags: everything wrong is said at once, where it stands."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sweeper.artifact import MAX_NUMBER
from sweeper.errors import SpecError, SweeperError
from sweeper.spec import Spec
from sweeper.specfile import FLAGS, resolve, settings, to_yaml

BASE = {("task",): "classification", ("models", 0, "id"): "packaged:minilm"}


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    return path


def test_flags_alone_make_a_complete_spec():
    spec = resolve({**BASE, ("data", "path"): "rows.jsonl", ("search", "trials"): 7})
    assert spec.models[0].id == "packaged:minilm"
    assert spec.data.path == "rows.jsonl"
    assert spec.search.trials == 7


def test_flags_win_over_the_file_and_leave_the_rest(tmp_path):
    path = written(
        tmp_path, "task: code\nmodel: 7B\ndata: rows.jsonl\nsearch: {trials: 5, seed: 3}\n"
    )
    spec = resolve({("search", "trials"): 9}, path)
    assert (spec.task, spec.search.trials, spec.search.seed) == ("code", 9, 3)
    assert spec.data.path == "rows.jsonl"


@pytest.mark.parametrize("value", ["24", "24GB", "24 GiB", "24g"])
def test_the_memory_of_a_gpu_may_have_its_unit(value):
    spec = resolve({**BASE, ("hardware", "gpu_memory_gib"): value})
    assert spec.hardware.gpu_memory_gib == 24.0


def test_an_unknown_executor_is_refused_before_a_run_begins():
    with pytest.raises(SpecError) as refused:
        resolve({**BASE, ("search", "executor"): "lcoal"})
    (problem,) = refused.value.problems
    assert problem.where == "--executor"
    assert "'local'" in problem.fix


def test_a_resolved_spec_survives_its_own_yaml(tmp_path):
    spec = resolve({**BASE, ("aim", "strategies"): ["lora"], ("data", "columns"): {"text": "q"}})
    path = written(tmp_path, to_yaml(spec))
    assert resolve({}, path) == spec


def test_five_mistakes_are_reported_together_with_lines_and_near_matches(tmp_path):
    path = written(
        tmp_path,
        "task: classificaton\n"
        "model: packaged:minilm\n"
        "data:\n"
        "  pth: rows.jsonl\n"
        "hardware:\n"
        "  gpu_memory_gib: 0\n"
        "search:\n"
        "  trials: none\n"
        "aim:\n"
        "  strategies: [lroa]\n",
    )
    with pytest.raises(SpecError) as caught:
        resolve({}, path)
    text = str(caught.value)
    assert len(caught.value.problems) == 5
    lines = [int(problem.where.split(":")[1].split()[0]) for problem in caught.value.problems]
    assert lines == [1, 4, 6, 8, 10]
    for hint in ("'classification'", "'path'", "greater than 0", "a valid integer", "'lora'"):
        assert hint in text


@pytest.mark.parametrize(
    ("flag", "value", "expected"),
    [
        (("hardware", "gpu_memory_gib"), 0.0, "--gpu-memory"),
        (("search", "trials"), 0, "--trials"),
        (("task",), "classify", "--task"),
        (("aim", "strategies"), ["lroa"], "--strategies"),
    ],
)
def test_a_bad_flag_is_named_as_it_was_typed(flag, value, expected):
    with pytest.raises(SpecError) as caught:
        resolve({**BASE, flag: value})
    assert [problem.where for problem in caught.value.problems] == [expected]


def test_what_is_missing_is_asked_for_by_flag():
    with pytest.raises(SpecError) as caught:
        resolve({})
    assert [problem.where for problem in caught.value.problems] == ["--task", "--model"]


def test_a_number_of_trials_at_the_top_level_is_refused_with_its_line(tmp_path):
    path = written(tmp_path, "task: code\nmodel: 7B\ntrials: 20\n")
    with pytest.raises(SpecError) as refused:
        resolve({}, path)
    assert [problem.where for problem in refused.value.problems] == [f"{path}:3 trials"]


def test_a_tag_that_would_run_code_is_refused_and_does_not_run(tmp_path):
    marker = tmp_path / "ran"
    path = written(
        tmp_path, f"task: code\nmodel: !!python/object/apply:os.system ['touch {marker}']\n"
    )
    with pytest.raises(SpecError):
        resolve({}, path)
    assert not marker.exists()


@pytest.mark.parametrize("text", ["- a\n- b\n", "just words\n"])
def test_a_file_without_keys_says_how_to_start(tmp_path, text):
    with pytest.raises(SpecError, check=lambda error: error.code == "no-mapping"):
        resolve({}, written(tmp_path, text))


@given(st.binary(max_size=200))
def test_any_bytes_give_a_spec_or_an_error_with_exit_code_2(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("spec") / "sweep.yaml"
    path.write_bytes(content)
    try:
        outcome: object = resolve({}, path)
    except SweeperError as error:
        outcome = error
    assert isinstance(outcome, Spec) or outcome.exit_code == 2


@pytest.mark.parametrize(
    "text",
    [
        "models: [5]", "models: [null]", "models: 5", "models: {id: 7B}", "data: [a]", "search: 5",
        "parameters: {lora: {target_modules: [{a: 1}]}}", "parameters: {lora: {r: [[1]]}}",
        "parameters: {lora: {r: {choices: {a: 1}}}}", "parameters: {1: {r: 8}}", "trials: [lora]",
        "objective: [1]", "features: 3", "features: {suite: 1}", "rules: {a: b}",
        "hardware: {gpu_memory_gib: [24]}", "search: {timeout_seconds: [1]}",
        "aim: {strategies: {lora: 1}}", "task: [code]",
    ],
)  # fmt: skip
def test_values_of_any_kind_are_refused_without_a_traceback(tmp_path, text):
    path = written(tmp_path, f"{text}\n")
    for flags in (BASE, {**BASE, ("search", "trials"): 5, ("data", "format"): "auto"}):
        try:
            outcome: object = resolve(flags, path)
        except SweeperError as error:
            outcome = error
        assert isinstance(outcome, Spec) or outcome.exit_code == 2


def test_every_flag_names_a_key_that_exists():
    for path in FLAGS:
        model = Spec
        for part in path[:-1]:
            if isinstance(part, str):
                annotation = model.model_fields[part].annotation
                model = getattr(annotation, "__args__", (annotation,))[0]
        assert path[-1] in model.model_fields or isinstance(path[-1], int), path


@pytest.mark.parametrize(
    ("key", "value", "flag", "task"),
    [
        (("training", "classes_by"), "generate", "--classes-by", "instruction"),
    ],
)
def test_choices_of_another_task_are_refused_by_their_flag(key, value, flag, task):
    with pytest.raises(SpecError) as raised:
        resolve({**BASE, ("task",): task, key: value})
    (problem,) = raised.value.problems
    assert problem.where == flag
    assert "--task" in problem.fix


@pytest.mark.parametrize(
    ("task", "data", "says"),
    [
        ("instruction", {"examples": 9, "path": "r.jsonl"}, {"--examples": "--max-rows 9"}),
    ],
)
def test_data_that_nothing_would_read_is_refused_by_its_flag(task, data, says):
    given = {**BASE, ("task",): task, **{("data", name): value for name, value in data.items()}}
    with pytest.raises(SpecError) as raised:
        resolve(given)
    assert {one.where for one in raised.value.problems} == set(says)
    assert all(says[one.where] in one.fix for one in raised.value.problems)


def test_data_that_nothing_would_read_is_refused_with_its_line(tmp_path):
    path = written(tmp_path, "task: code\nmodel: 7B\ndata:\n  examples: 9\n  path: r.jsonl\n")
    with pytest.raises(SpecError) as raised:
        resolve({}, path)
    (problem,) = raised.value.problems
    assert problem.where.endswith("sweep.yaml:4 data.examples")


def test_set_gives_any_key_by_its_path(tmp_path):
    path = written(
        tmp_path,
        "task: code\nmodel: 7B\nparameters:\n  lora: {r: {low: 4, high: 8}}\nsearch: {seed: 1}\n",
    )
    items = ["lora.r=16", "parameters.full.optim=sgd", "seed=3", "training.max_length=256"]
    items += ["model=13B", "strategies=[lora, full]", "data.examples=500"]
    spec = resolve(settings(items), path)
    assert spec.parameters["lora"]["r"].choices == (16,)
    assert spec.parameters["full"]["optim"].choices == ("sgd",)
    assert (spec.search.seed, spec.training.max_length, spec.data.examples) == (3, 256, 500)
    assert spec.models[0].id == "13B"
    assert spec.aim.strategies == ("lora", "full")
    assert spec.places.where(("parameters", "lora", "r")) == "--set lora.r"


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("loar.r=8", "--set loar.r: there is no key 'loar'\n  Did you mean 'lora'?"),
        ("sed=8", "Did you mean 'seed'?"),
        ("search.sed=8", "--set search.sed: there is no key 'sed' here\n  Did you mean 'seed'?"),
        ("lora.r", "'lora.r' sets nothing"),
        ("lora.r=[1", "this is not YAML"),
        ("search.trials=0", "--set search.trials: trials = 0"),
        ("lora.learning_rate={low: 2, high: 1}", "--set lora.learning_rate: low <= high"),
    ],
)
def test_what_cannot_be_set_is_named(item, words):
    with pytest.raises(SpecError) as caught:
        resolve({**BASE, **settings([item])})
    assert words in str(caught.value)


WHOLE = st.integers(-MAX_NUMBER, MAX_NUMBER)
FORMS = st.one_of(
    WHOLE,
    st.floats(-MAX_NUMBER, MAX_NUMBER),
    st.booleans(),
    st.text("abc,._", min_size=1),
    st.lists(WHOLE | st.booleans() | st.text("abc", min_size=1), min_size=1),
    st.fixed_dictionaries({"low": st.floats(1, 2), "high": st.floats(2, 3)}, optional={
        "log": st.booleans(), "default": st.just(2)}),
)  # fmt: skip


MODULES = st.lists(st.text("abc", min_size=1) | st.lists(st.just("d"), min_size=1), min_size=1)


@given(st.fixed_dictionaries({}, optional={"r": FORMS, "target_modules": MODULES}))
def test_every_form_of_a_parameter_survives_the_written_file(tmp_path_factory, forms):
    spec = resolve({**BASE, **{("parameters", "lora", name): form for name, form in forms.items()}})
    path = written(tmp_path_factory.mktemp("spec"), to_yaml(spec))
    assert resolve({}, path) == spec


def test_durations_memory_and_lists_may_be_texts_in_the_file(tmp_path):
    path = written(
        tmp_path,
        "task: code\nmodel: 7B\nsearch: {timeout_seconds: 2h}\nhardware: {gpu_memory_gib: 24GB}\n"
        "aim: {strategies: 'lora, full'}\n",
    )
    spec = resolve({}, path)
    assert (spec.search.timeout_seconds, spec.hardware.gpu_memory_gib) == (7200.0, 24.0)
    assert spec.aim.strategies == ("lora", "full")
    path.write_text("task: code\nmodel: 7B\nsearch: {timeout_seconds: 2 weeks}\n")
    with pytest.raises(SpecError) as refused:
        resolve({}, path)
    assert [one.where for one in refused.value.problems] == [f"{path}:3 search.timeout_seconds"]


def test_a_mistake_in_a_declared_parameter_is_named_with_its_line(tmp_path):
    path = written(
        tmp_path,
        "task: code\nmodel: 7B\nparameters:\n  lora:\n    r: {min: 1}\n    optim: null\n"
        "    learning_rate: {low: 2, high: 1}\n  loar: {r: 8}\n",
    )
    with pytest.raises(SpecError) as refused:
        resolve({}, path)
    places = [one.where.removeprefix(f"{path}:") for one in refused.value.problems]
    assert places == [
        "5 parameters.lora.r.min", "6 parameters.lora.optim", "7 parameters.lora.learning_rate",
        "8 parameters.loar",
    ]  # fmt: skip


def test_a_key_that_is_set_twice_is_refused():
    with pytest.raises(SpecError):
        settings(["lora.r=8", "lora.r=9"])


def test_features_with_their_defaults_are_not_written_so_that_a_run_does_not_need_them():
    plain = yaml.safe_load(to_yaml(resolve(BASE)))
    assert plain["features"] == {}
    asked = resolve({**BASE, ("features", "warm_start", "enabled"): True})
    assert yaml.safe_load(to_yaml(asked))["features"] == {"warm_start": {"enabled": True}}


def test_a_feature_that_is_not_installed_is_named_with_those_that_are(tmp_path):
    path = written(tmp_path, "task: code\nmodel: 7B\nfeatures:\n  latencies: {enabled: true}\n")
    with pytest.raises(SpecError) as refused:
        resolve({}, path)
    (problem,) = refused.value.problems
    assert problem.where == f"{path}:4 features.latencies"
    assert "warm_start" in problem.fix
