"""Several sources as one data set: splits, weights, and what keeps them from going together."""

import json

import pytest

from sweeper.data.examples import SPLITS
from sweeper.data.prepared import dataset_of
from sweeper.errors import DataError, SpecError
from sweeper.spec import DataSpec, SourceSpec, Spec
from sweeper.specfile import resolve


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def questions(word, count=60):
    return [{"text": f"{word} {n}", "label": f"class {n % 2}"} for n in range(count)]


def mixed(*sources, **data):
    return dataset_of(Spec(task="classification", data=DataSpec(sources=tuple(sources), **data)))


@pytest.fixture
def two(tmp_path):
    first = SourceSpec(path=write(tmp_path / "first.jsonl", questions("one")), weight=3)
    other = [{"query": r["text"], "intent": r["label"]} for r in questions("two", 40)]
    columns = {"text": "query", "label": "intent"}
    second = write(tmp_path / "second.jsonl", other)
    return first, SourceSpec(path=second, alias="other", weight=1, columns=columns)


def test_each_row_keeps_its_source_and_every_source_is_in_every_split(two):
    dataset = mixed(*two)
    assert dataset.rows == 100
    assert dataset.weights == {"first": 3, "other": 1}
    for split in SPLITS:
        sources = [example.source for example in dataset.splits[split]]
        assert set(sources) == {"first", "other"}
    counts = [e.source for split in SPLITS for e in dataset.splits[split]]
    assert (counts.count("first"), counts.count("other")) == (60, 40)
    assert any(text.startswith("other: ") for text in dataset.evidence)


def test_the_rows_of_a_source_are_split_as_without_the_others(two):
    both, alone = mixed(*two), mixed(two[0].model_copy(update={"weight": None}))
    for split in SPLITS:
        own = [e.key for e in both.splits[split] if e.source == "first"]
        assert own == [e.key for e in alone.splits[split]]


def test_an_input_that_one_source_holds_out_is_not_trained_on_by_another(two, tmp_path):
    first = two[0].model_copy(update={"weight": None})
    held = [{"text": e.text, "label": e.label} for e in mixed(first).splits["test"]]
    folder = tmp_path / "third"
    folder.mkdir()
    write(folder / "train.jsonl", [*questions("three", 40), *held])
    for split in ("validation", "test"):
        write(folder / f"{split}.jsonl", questions(f"{split} of three", 10))
    dataset = mixed(first, SourceSpec(path=str(folder)))
    assert sum(e.source == "third" for e in dataset.splits["train"]) == 40
    assert dataset.counts["leakage"] == 0
    assert any(f"{len(held)} rows of train left out" in said for said in dataset.warnings)


def test_max_rows_holds_for_all_sources_together(two):
    assert mixed(*two, max_rows=50).rows == 50


def test_sources_that_do_not_go_together_are_refused_with_the_key_and_the_file(tmp_path):
    texts = write(tmp_path / "texts.jsonl", [{"text": f"some text {n}"} for n in range(30)])
    pairs = [{"question": f"ask {n}", "answer": f"say {n}"} for n in range(30)]
    spec = Spec(
        task="domain",
        data=DataSpec(
            sources=(SourceSpec(path=texts), SourceSpec(path=write(tmp_path / "q.jsonl", pairs)))
        ),
    )
    with pytest.raises(DataError) as raised:
        dataset_of(spec)
    said = str(raised.value)
    assert "data.sources.1.path" in said
    assert (
        "q.jsonl): this source holds questions with answers, but another holds plain text" in said
    )


def test_every_source_that_is_wrong_is_named_with_its_line(two, tmp_path):
    bad = write(tmp_path / "bad.jsonl", [{"chosen": "a", "rejected": "b"}] * 9)
    file = tmp_path / "sweep.yaml"
    file.write_text(
        f"task: classification\nmodel: packaged:minilm\ndata:\n  sources:\n"
        f"    - path: {two[0].path}\n    - path: {tmp_path}/firs.jsonl\n    - path: {bad}\n"
    )
    with pytest.raises(DataError) as raised:
        dataset_of(resolve({}, file))
    first, second = raised.value.problems
    assert "sweep.yaml:6 data.sources.1.path" in first.where
    assert first.fix == "Did you mean 'first.jsonl'?"
    assert "sweep.yaml:7 data.sources.2.path" in second.where


@pytest.mark.parametrize(
    ("sources", "what", "line"),
    [
        ("[{path: a, weight: 0}]", "weight = 0", 4),
        ("[{path: a, weight: -1}]", "weight = -1", 4),
        ("[{path: a, weight: .inf}]", ".inf is not a number", 4),
        ("[{path: a, weight: 1}, {path: b}]", "'b' has no weight", 4),
        ("[{path: a}, {path: x/a.csv}]", "two sources are called 'a'", 4),
        ("[{path: a}]\n  path: b", "path is given together with sources", 5),
        ("[{path: a}]\n  test: b", "test is given together with sources", 5),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_line(tmp_path, sources, what, line):
    file = tmp_path / "sweep.yaml"
    file.write_text(f"task: classification\nmodel: packaged:minilm\ndata:\n  sources: {sources}\n")
    with pytest.raises(SpecError) as raised:
        resolve({}, file)
    (problem,) = raised.value.problems
    assert what in problem.what
    assert f"sweep.yaml:{line} " in problem.where
