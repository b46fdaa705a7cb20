"""The page for raters and their files: what is kept, what is refused, what it shows."""

import json
from collections import Counter

import pytest
from pydantic import TypeAdapter
from section_figures import figures_of

from sweeper.errors import UsageError
from sweeper.features.ratings import section
from sweeper.features.ratings._page import (
    HumanPage,
    Ratings,
    keep_ratings,
    key_file,
    ratings_file,
    write_page,
)
from sweeper.features.ratings.commands import answers

pytestmark = pytest.mark.usefixtures("preloaded")
TEXT = {
    "task": "instruction",
    "strategies": ("lora", "full"),
    "model": "packaged:smollm2",
    "trials": 6,
    "name": "text",
}


@pytest.fixture
def rated(make_run, tmp_path):
    """A run with its page, and a maker of ratings: ``rated(name, how)`` answers every pair."""
    run = make_run(**TEXT)
    _, page = write_page(run)

    def rate(rater, how=lambda pair: "tie", **changes):
        ratings = {pair.id: how(pair) for pair in page.pairs}
        fields = {"page": page.page, "rater": rater, "ratings": ratings, **changes}
        made = Ratings(format="sweeper-human-ratings", checksum="", **fields)
        made = made.model_copy(update={"checksum": made.expected_checksum()})
        path = tmp_path / f"{rater}.json"
        made.write(path)
        return path

    rate.run, rate.page = run, page
    return rate


def for_the_winner(page):
    return lambda pair: "left" if pair.left == page.winner else "right"


def test_the_page_hides_who_wrote_what_and_puts_the_winner_on_either_side_alike(rated):
    page, text = rated.page, key_file(rated.run).with_suffix(".html").read_text()
    for pair in page.pairs:
        assert page.winner in (pair.left, pair.right)
    data = json.loads(text.split('id="data">')[1].split("</script>")[0])
    assert {key for pair in data["pairs"] for key in pair} == {
        "id", "asked", "reference", "left", "right",
    }  # fmt: skip
    sides = Counter(
        (pair.right if pair.left == page.winner else pair.left, pair.left == page.winner)
        for pair in page.pairs
    )
    others = {name for name, _ in sides}
    assert all(abs(sides[name, True] - sides[name, False]) <= 1 for name in others)
    assert write_page(rated.run)[1] == page


def test_a_win_rate_counts_items_and_ratings_of_several_people(rated):
    page, run = rated.page, rated.run
    files = [rated("ann", for_the_winner(page)), rated("bob", for_the_winner(page))]
    keep_ratings(run, files)
    found = figures_of(run, section)
    assert found.raters == 2
    assert found.agreement == 1.0
    for one in found.preferences:
        assert (one.won, one.tied, one.lost, one.same) == (24, 0, 0, 0)
        assert one.win_rate.value == 1.0
        # Wilson for 12 of 12 items, however many people rated them
        assert one.win_rate.low == pytest.approx(0.757, abs=0.001)
        assert one.outcome == "preferred"


def test_whoever_always_takes_the_left_side_decides_nothing_and_is_seen(rated):
    keep_ratings(rated.run, [rated("ann", lambda _: "left")])
    found = figures_of(rated.run, section)
    assert found.left_share.value == 1.0
    assert found.left_share.low > 0.8
    assert {one.outcome for one in found.preferences} == {"undecided"}
    assert all(abs(one.win_rate.value - 0.5) < 0.1 for one in found.preferences)


def test_kappa_is_that_of_cohen(rated):
    page = rated.page

    def said(words):
        return {pair.id: words[number % 4] for number, pair in enumerate(page.pairs)}

    first = said(["left", "left", "right", "tie"])
    second = said(["left", "right", "right", "tie"])
    files = [rated("ann", lambda p: first[p.id]), rated("bob", lambda p: second[p.id])]
    keep_ratings(rated.run, files)
    found = figures_of(rated.run, section)
    assert found.agreement == pytest.approx(0.75, abs=0.02)
    # by hand: (3/4 - 5/16) / (1 - 5/16)
    assert found.kappa == pytest.approx(0.636, abs=0.02)


def test_all_mistakes_in_files_of_ratings_are_told_at_once(rated, tmp_path):
    changed = rated("changed")
    fields = json.loads(changed.read_text())
    fields["ratings"]["p00"] = "left"
    changed.write_text(json.dumps(fields))
    half = rated("half", ratings={rated.page.pairs[0].id: "tie"})
    foreign = rated("foreign", page="0" * 16)
    cut = tmp_path / "cut.json"
    cut.write_text(rated("cut-off").read_text()[:200])
    other = tmp_path / "other.json"
    other.write_text('{"schema_version": 1, "name": "no ratings"}')
    good, again = rated("ann"), tmp_path / "again.json"
    again.write_text(good.read_text())
    files = [good, changed, half, foreign, cut, other, again, tmp_path / "none.json"]
    with pytest.raises(UsageError) as raised:
        keep_ratings(rated.run, files)
    told = {problem.where.rpartition("/")[2]: problem.what for problem in raised.value.problems}
    assert told["changed.json"] == "these ratings were changed after the page had exported them"
    pairs = len(rated.page.pairs)
    assert told["half.json"] == f"these ratings are unfinished: 1 of {pairs} pairs"
    assert told["foreign.json"] == "these ratings are of another page"
    assert told["again.json"] == "there are two files of the rater 'ann'"
    for name in ("cut", "other", "none"):
        assert told[f"{name}.json"].startswith("this file holds no ratings: ")
    assert "ann.json" not in told
    assert not ratings_file(rated.run).exists()


def test_a_run_without_answers_or_page_is_told_so(make_run, tmp_path):
    with pytest.raises(UsageError):
        write_page(make_run(name="classes", trials=6))
    with pytest.raises(UsageError):
        write_page(make_run(**TEXT | {"name": "early", "seal": False}))
    run = make_run(**TEXT | {"name": "silent"})
    with pytest.raises(UsageError):
        keep_ratings(run, [tmp_path / "ann.json"])
    seal = json.loads(run.test_seal.read_text())
    for score in seal["scores"]:
        score["texts"] = {}
        if score["generated"]:
            score["generated"]["shown_texts"] = {}
    run.test_seal.write_text(json.dumps(seal))
    with pytest.raises(UsageError, check=lambda error: error.code == "no-answers"):
        write_page(run)
    with pytest.raises(
        UsageError, check=lambda error: error.code == "no-answers"
    ):  # nor can there be one
        keep_ratings(run, [tmp_path / "ann.json"])


def test_without_ratings_the_section_names_the_command_for_a_page(make_run):
    asked = figures_of(make_run(**TEXT), section)
    assert asked.command == "sweeper evaluate human text"
    early = figures_of(make_run(**TEXT | {"name": "early", "seal": False}), section)
    assert early.command == ""
    assert figures_of(make_run(name="classes", trials=6), section) is None


def test_the_command_writes_the_page_and_reads_ratings_back(sweeper, rated):
    run = rated.run
    key_file(run).unlink()
    ran = sweeper("evaluate", "human", "text", "-o", "rate.html")
    assert ran.code == 0
    assert f"{len(rated.page.pairs)} pairs: rate.html" in ran.out
    ran = sweeper("evaluate", "human", "text", "-o", "rate.html", "--json")
    shown = TypeAdapter(answers()["evaluate human"]).validate_json(ran.out)
    assert shown["pairs"] == len(rated.page.pairs)
    assert HumanPage.read(key_file(run)) == rated.page
    win = for_the_winner(rated.page)
    files = [str(rated("ann", win)), str(rated("bob", lambda _: "left"))]
    ran = sweeper("evaluate", "ratings", "text", *files)
    assert ran.code == 0, ran.err
    assert "win rate 75% (" in ran.out
    assert "Two raters agree on 50% of pairs" in ran.out
    assert "How often people prefer" in run.report_html.read_text()
    ran = sweeper("evaluate", "ratings", "text", *files, "--json")
    TypeAdapter(answers()["evaluate ratings"]).validate_json(ran.out)
    assert sweeper("evaluate", "ratings", "text").code == 2
