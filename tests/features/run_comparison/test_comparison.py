"""``sweeper report`` with several runs."""

import json
from itertools import combinations

import pytest

from sweeper.features import parts
from sweeper.features.run_comparison.comparison import ComparedRun, differences, pairs


def test_several_runs_are_compared_on_a_page(sweeper, make_run, here):
    for name, trials in (("one", 6), ("other", 9)):
        make_run(name=name, trials=trials)
    ran = sweeper("report", "one", "other")
    assert ran.code == 0
    told = "one and other cannot be compared: the test rows differ: 120 and 120 items."
    assert told in ran.out
    page = (here / "comparison.html").read_text()
    assert "search.trials" in page
    assert "runs/one/report.html" not in ran.out
    assert sweeper("report", "one", "nowhere").code == 2


def test_without_the_feature_several_runs_are_a_usage_error(sweeper, make_run, monkeypatch):
    for name in ("one", "other"):
        make_run(name=name, trials=6)
    monkeypatch.setattr(parts.Hook, "all", lambda _hook: iter(()))
    ran = sweeper("report", "one", "other")
    assert (ran.code, "no installed feature compares runs" in ran.err) == (2, True)


TEXT = {"task": "instruction", "strategies": ("lora",)}


@pytest.fixture
def make(make_run):
    return make_run


@pytest.fixture
def runs(make):
    """Runs of these shapes whose winners were scored on rows of these digests."""

    def build(*shapes, digests=None):
        made = []
        for number, shape in enumerate(shapes):
            run = make(name=f"run-{number}", **shape)
            seal = json.loads(run.test_seal.read_text())
            for score in seal["scores"]:
                score["items_sha256"] = (digests or "a" * 9)[number]
            run.test_seal.write_text(json.dumps(seal))
            made.append(ComparedRun(run))
        return made

    return build


def test_winners_on_the_same_rows_are_compared_item_by_item(runs):
    # the same items and seeds with another distance from the best loss
    found = pairs(
        runs({"trials": 6, "seed": 1}, {"trials": 9, "seed": 1}, {"trials": 6, "seed": 1})
    )
    assert [(p.first.name, p.second.name) for p in found] == list(
        combinations(["run-0", "run-1", "run-2"], 2)
    )
    assert not any(pair.reasons for pair in found)
    same = found[1]
    assert same.comparison.difference.value == 0.0
    assert same.comparison.outcome != "better"
    assert found[0].comparison.difference.n == 120


@pytest.mark.parametrize(
    ("second", "digests", "why"),
    [
        ({"trials": 6}, "ab", "the test rows differ: 120 and 120 items"),
        ({"trials": 6, **TEXT}, "aa", "the tasks differ: classification and instruction"),
        ({"trials": 6, **TEXT}, "aa", "the metrics differ: accuracy points and loss nats/token"),
        ({"trials": 6, "seal": False, "seeds": 1}, "aa", "no winner has been scored"),
    ],
)
def test_an_unfair_comparison_says_why_and_gives_no_difference(runs, make, second, digests, why):
    if second.get("seal") is False:
        one, other = (
            runs({"trials": 6}, digests="a")[0],
            ComparedRun(make(name="early", **second)),
        )
    else:
        one, other = runs({"trials": 6}, second, digests=digests)
    (pair,) = pairs([one, other])
    assert any(reason.startswith(why) for reason in pair.reasons)
    assert pair.comparison is None


def test_the_same_items_must_have_been_scored(runs):
    one, other = runs({"trials": 6}, {"trials": 6})
    path = other.files.folder.test_seal
    seal = json.loads(path.read_text())
    for score in seal["scores"]:
        score["item_weights"] = [0.0, *[1.0] * 119]
    path.write_text(json.dumps(seal))
    other = ComparedRun(other.files.folder)
    (pair,) = pairs([one, other])
    assert pair.reasons == ("different test rows were scored: 120 and 119 items",)
    (fair,) = pairs([other, other])
    assert (fair.reasons, fair.comparison.difference.n) == ((), 119)


def test_what_differs_is_what_was_asked_for(runs):
    found = differences(runs({"trials": 6}, {"trials": 9}))
    assert found["search.trials"] == ("6", "9")
    assert "task" not in found
    assert "name" not in found
