"""``sweeper report`` with several runs."""

from sweeper.features import parts


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
