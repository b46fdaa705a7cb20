"""Curation: remedies and the choice of rows as data are read, and the list that repeats them."""

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from sweeper.data.load import load
from sweeper.data.prepared import prepared_data
from sweeper.data.rows import read_rows
from sweeper.data.write_rows import change_list, write_rows
from sweeper.errors import DataError, RunError, UsageError
from sweeper.facts.gather import rows_of
from sweeper.features.quality import rows as rows_part
from sweeper.features.quality._fix import fix
from sweeper.features.quality._kinds.base import kinds
from sweeper.features.quality.options import Keep, Options
from sweeper.spec import DataSpec, ModelSpec, SourceSpec, Spec
from sweeper.steps import sweep as run_steps
from tests.features.quality.planting import PLANTS, VERBS, sentence

LABELS = ("card arrival", "lost money", "weather forecast", "play music")


@pytest.fixture
def noisy(here):
    """160 rows without splits: a broken line, duplicates, a variant and 12 wrong labels."""
    rng = random.Random(0)
    rows = [{"text": sentence(rng, VERBS[n % 4 :: 4]), "label": LABELS[n % 4]} for n in range(160)]
    for n in range(12):
        rows[n]["label"] = LABELS[(n + 1) % 4]
    rows[20]["label"] = "Card Arrival"
    rows += [dict(rows[n]) for n in (30, 31, 32)]
    path = here / "rows.jsonl"
    path.write_text("\n".join([*map(json.dumps, rows), "{broken"]))
    return path


def spec_of(path, **asked):
    return Spec(
        task="classification",
        models=(ModelSpec(id="packaged:minilm"),),
        data=DataSpec(path=str(path)),
        features={"quality": Options(**asked)},
    )


def counted(found):
    return Counter((one.remedy, one.action) for one in found.changes)


def test_without_curation_nothing_is_changed(noisy):
    found = prepared_data(spec_of(noisy))
    assert found.changes == ()
    assert found.dataset == load(DataSpec(path=str(noisy)), "classification")


def test_safe_remedies_give_the_data_set_that_the_fixed_file_gives(noisy):
    before = noisy.read_bytes()
    found = prepared_data(spec_of(noisy, all_safe=True))
    assert noisy.read_bytes() == before
    assert counted(found) == {
        ("unreadable", "removed"): 1,
        ("label-variants", "changed"): 1,
        ("duplicates", "removed"): 3,
    }
    safe = [kind for kind in kinds().values() if kind.safe]
    fixed = fix(read_rows(DataSpec(path=str(noisy)), "classification"), safe)
    new = noisy.with_name("new.jsonl")
    write_rows(new, [row.fields for row in fixed.data.rows])
    again = load(DataSpec(path=str(new)), "classification")
    assert found.dataset.fingerprint == again.fingerprint
    assert not found.dataset.counts["unreadable"]


def test_a_model_that_checks_rows_takes_them_out_of_train_alone(noisy):
    pytest.importorskip("sklearn")
    plain = prepared_data(spec_of(noisy, all_safe=True)).dataset
    found = prepared_data(spec_of(noisy, all_safe=True, remedies=("label-noise",)))
    wrong = {change.line for change in found.changes if change.remedy == "label-noise"}
    assert wrong
    assert wrong <= set(range(1, 13))
    for split in ("validation", "test"):
        assert found.dataset.splits[split] == plain.splits[split]
    left = {example.line for example in plain.splits["train"]} - wrong
    assert {example.line for example in found.dataset.splits["train"]} == left


def test_labels_that_are_rewritten_stay_in_train_and_are_repeated_from_the_list(noisy):
    pytest.importorskip("sklearn")
    spec = spec_of(noisy, all_safe=True, remedies=("relabel",))
    plain, found = prepared_data(spec_of(noisy, all_safe=True)).dataset, prepared_data(spec)
    new = {
        change.line: change.after["label"] for change in found.changes if change.remedy == "relabel"
    }
    assert new
    assert {e.line: e.label for e in found.dataset.splits["train"]} == {
        e.line: new.get(e.line, e.label) for e in plain.splits["train"]
    }
    assert found.dataset.fingerprint != plain.fingerprint
    record = noisy.with_name("data_changes.jsonl")
    record.write_text(change_list(found.changes))
    assert prepared_data(spec, record) == found


def test_the_most_trusted_rows_are_kept_and_the_others_are_listed(noisy):
    pytest.importorskip("sklearn")
    keep = Keep(rows=40, by="label-trust")
    found = prepared_data(spec_of(noisy, all_safe=True, keep=keep))
    plain = prepared_data(spec_of(noisy, all_safe=True)).dataset
    assert len(found.dataset.splits["train"]) == 40
    assert found.dataset.splits["test"] == plain.splits["test"]
    listed = [change for change in found.changes if change.remedy == "keep"]
    assert len(listed) == len(plain.splits["train"]) - 40
    assert listed[0].why == f"rank 41 of {len(plain.splits['train'])} by label-trust"
    assert listed[0].before.keys() == {"text", "label"}


def test_rows_that_are_spread_are_asked_of_a_process_once(noisy, monkeypatch):
    asked = []

    def answer(_function, request, kind, **_):
        asked.append(request)
        return kind(chosen=tuple(range(0, len(request.texts), 2)))

    monkeypatch.setattr(rows_part, "in_child", answer)
    monkeypatch.setattr(rows_part, "require", lambda *_: None)
    monkeypatch.setattr(rows_part, "weight_files", lambda _: "model.safetensors:1:1")
    keep = Keep(rows=60, by="spread")
    first, second = (prepared_data(spec_of(noisy, keep=keep)) for _ in range(2))
    assert len(asked) == 1
    assert asked[0].count == 60
    assert len(first.dataset.splits["train"]) == -(-len(asked[0].texts) // 2)
    assert first == second


def test_a_list_of_changes_is_applied_without_looking_again(noisy, monkeypatch):
    with noisy.open("a") as file:  # no end of a line, although Python takes it for one
        file.write("\n" + json.dumps({"text": "one\u2028more ", "label": LABELS[0]}))
    keep = Keep(rows=40, by="label-trust")
    spec = spec_of(noisy, all_safe=True, remedies=("label-noise",), keep=keep)
    found = prepared_data(spec)
    record = noisy.with_name("data_changes.jsonl")
    record.write_text(change_list(found.changes))
    for name in ("fix", "rows_to_leave_out", "kinds_by_name"):
        monkeypatch.setattr(rows_part, name, None)
    assert prepared_data(spec, record) == found


def test_the_best_rows_of_several_sources_are_chosen_from_all_of_them(noisy, monkeypatch):
    pytest.importorskip("sklearn")
    clean = noisy.with_name("clean.jsonl")
    rng = random.Random(1)
    rows = [{"text": sentence(rng, VERBS[n % 4 :: 4]), "label": LABELS[n % 4]} for n in range(160)]
    clean.write_text("\n".join(map(json.dumps, rows)))
    keep = Keep(rows=100, by="label-trust")
    sources = (SourceSpec(path=str(noisy), weight=1.0), SourceSpec(path=str(clean), weight=2.0))
    spec = spec_of(noisy, all_safe=True, keep=keep)
    spec = spec.model_copy(update={"data": DataSpec(sources=sources)})
    found = prepared_data(spec)
    train = found.dataset.splits["train"]
    assert len(train) == 100
    assert {example.source for example in train} == {"rows", "clean"}
    assert not {e.line for e in train if e.source == "rows"} & set(range(1, 13))
    listed = [change for change in found.changes if change.remedy == "keep"]
    assert {change.path for change in listed} == {str(noisy), str(clean)}
    assert listed[0].why == f"rank 101 of {100 + len(listed)} by label-trust"
    record = noisy.with_name("data_changes.jsonl")
    record.write_text(change_list(found.changes))
    monkeypatch.setattr(rows_part, "rows_to_leave_out", None)
    again = prepared_data(spec, record)
    assert again.dataset == found.dataset
    assert counted(again) == counted(found)


@pytest.mark.parametrize(("path", "form"), [("many", "jsonl"), ("table.csv", "csv")])
def test_changes_of_any_file_are_applied_again(here, path, form):
    rows = [{"text": f"row {n} is  here ", "label": "ab"[n % 2]} for n in range(40)]
    if form == "csv":
        write_rows(here / path, rows)
    else:
        (here / path).mkdir()
        for split, part in (("train", rows[:30]), ("test", rows[30:])):
            write_rows(here / path / f"{split}.jsonl", part)
    spec = spec_of(here / path, all_safe=True)
    found = prepared_data(spec)
    assert counted(found) == {("white-space", "changed"): 40}
    record = here / "changes.jsonl"
    record.write_text(change_list(found.changes))
    assert prepared_data(spec, record).dataset.fingerprint == found.dataset.fingerprint
    assert prepared_data(spec_of(here / path)).dataset.fingerprint != found.dataset.fingerprint


@pytest.mark.parametrize(
    ("remedy", "code"), [("duplicats", "unknown-fault"), ("truncation", "no-remedy")]
)
def test_a_remedy_that_cannot_be_applied_is_named(noisy, remedy, code):
    asked = {"remedies": (remedy,)}
    with pytest.raises(UsageError, match=remedy, check=lambda error: error.code == code):
        prepared_data(spec_of(noisy, **asked))


def test_a_choice_that_loses_a_class_is_refused(noisy):
    pytest.importorskip("sklearn")
    with pytest.raises(DataError, check=lambda error: error.code == "unknown-labels"):
        prepared_data(spec_of(noisy, all_safe=True, keep=Keep(rows=2, by="label-trust")))


def test_a_damaged_list_of_changes_is_no_traceback(noisy):
    record = noisy.with_name("data_changes.jsonl")
    record.write_text('{"path": "rows.jsonl", "li')
    with pytest.raises(DataError):
        prepared_data(spec_of(noisy, all_safe=True), record)


def test_an_error_in_the_data_names_the_command_that_mends_it(here):
    rng = random.Random(0)
    rows = {
        split: [{"text": sentence(rng), "label": LABELS[n % 4]} for n in range(60)]
        for split in ("train", "test")
    }
    rows["train"] += [dict(row) for row in rows["test"]]  # the same inputs tell the codes
    for row in rows["test"]:
        row["label"] = str(LABELS.index(row["label"]))
    folder = here / "codes"
    folder.mkdir()
    for split, part in rows.items():
        write_rows(folder / f"{split}.jsonl", part)
    with pytest.raises(DataError) as caught:
        rows_of(spec_of(folder))
    said = str(caught.value)
    assert "have labels that train does not have" in said
    assert f"sweeper data fix {folder} --remedy label-sets --task classification -o NEW" in said
    assert "--set 'features.quality.remedies=[label-sets]'" in said
    mended = rows_of(spec_of(folder, remedies=("label-sets",)))
    assert mended.dataset.labels == tuple(sorted(LABELS))


@pytest.mark.parametrize(("broken", "says"), [(0, "two classes"), (80, "broken JSON")])
def test_an_error_that_no_remedy_mends_names_none(here, broken, says):
    """Nor does one that leaves out most rows."""
    path = here / "rows.jsonl"
    rows = [{"text": f"row {n}", "label": "ab"[n % 2 if broken else 0]} for n in range(30)]
    write_rows(path, rows)
    path.write_bytes(path.read_bytes() + b"{broken\n" * broken)
    with pytest.raises(DataError, match=says) as caught:
        rows_of(spec_of(path))
    assert "sweeper data fix" not in str(caught.value)


def test_every_kind_that_uses_a_model_is_planted_and_is_not_safe():
    by_model = [kind for kind in kinds().values() if kind.uses_model]
    assert {kind.name for kind in by_model} <= PLANTS.keys()
    assert not any(kind.safe for kind in by_model)


def test_a_run_is_resumed_with_its_changes_and_another_request_needs_new(monkeypatch, here):
    rows = [{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(60)]
    rows += rows[:3]
    Path("rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    spec = Spec(
        name="cured",
        task="classification",
        models=(ModelSpec(id="packaged:minilm"),),
        data=DataSpec(path="rows.jsonl"),
        features={"quality": Options(all_safe=True)},
    )
    begun = run_steps.prepare(spec, check_model=False)
    assert [(one.line, one.action) for one in begun.changes] == [
        (line, "removed") for line in (61, 62, 63)
    ]
    run_steps._stored_plan(begun).write(begun.folder.plan)
    lines = begun.folder.data_changes.read_text().splitlines()
    assert [json.loads(line)["line"] for line in lines] == [61, 62, 63]
    # What is known is not looked for again.
    with monkeypatch.context() as blind:
        blind.setattr(rows_part, "fix", None)
        again = run_steps.prepare(spec, check_model=False)
    assert again.changes == begun.changes
    assert run_steps._stored_plan(again) == begun.plan
    features = spec.features.model_copy(update={"quality": Options()})
    other = spec.model_copy(update={"features": features})
    changed = run_steps.prepare(other, check_model=False)
    assert changed.changes == ()
    with pytest.raises(RunError) as caught:
        run_steps._stored_plan(changed)
    assert "Give --new" in str(caught.value)
