"""What sections add to a report, and what a section that fails costs."""

from types import SimpleNamespace

import pytest

from sweeper.artifact import Record
from sweeper.errors import UsageError
from sweeper.features.parts import Heading
from sweeper.findings.findings import Limitation, NextStep
from sweeper.reporting import compose
from sweeper.reporting.blocks import Empty, Text
from sweeper.reporting.compose import page
from sweeper.reporting.document import Report
from sweeper.reporting.sections import trials


class Figures(Record):
    number: int


def section(**hooks):
    """A section as a module defines it."""
    parts = {
        "__name__": "own",
        "HEADING": Heading(7, "own", "Own"),
        "Figures": Figures,
        "compute": lambda run, findings: Figures(number=len(run.trials)),
        "blocks": lambda figures, report: [Text((f"There are {figures.number}.",))],
    }
    return SimpleNamespace(**parts | hooks)


@pytest.fixture
def composed(make, monkeypatch):
    """The report of a run with one more section, and what its page shows of that."""

    def build(shape=None, **hooks):
        modules = compose.in_order([section(**hooks), trials])
        monkeypatch.setattr(compose, "sections", lambda: modules)
        report = compose.report_of(make(**(shape or {"trials": 3, "seeds": 1})))
        again = Report.from_json(report.to_json())
        assert again == report
        shown = {one.id: one.blocks for one in page(again).sections}
        assert shown["trials"]
        return report, shown.get("own", shown.get("not-measured"))

    return build


def fails(*_):
    return {}["lost"]


def test_figures_are_in_the_document_and_read_back_for_the_page(composed):
    report, shown = composed()
    assert report.sections["own"] == {"number": 3}
    assert shown == (Text(("There are 3.",)),)


def test_sentences_limits_and_advice_go_where_they_belong(composed):
    limit = Limitation(id="own", text="One thing.", action="Do it.")
    step = NextStep(kind="stop", because="All is well.")
    hooks = {name: lambda f, _, n=name: [f"{n} {f.number}"] for name in
             ("because", "confidence", "card")}  # fmt: skip
    report, _ = composed({"trials": 20}, **hooks, limits=lambda *_: [limit], advise=lambda *_: step)
    found = report.findings
    assert [one[0].split()[0] for one in (report.because, report.confidence, report.card)] == [
        "because", "confidence", "card",
    ]  # fmt: skip
    assert found.limits[-1] == limit
    assert found.next_step is not None


@pytest.mark.parametrize("hook", ["compute", "because", "limits"])
def test_a_section_that_fails_costs_its_own_figures(composed, hook):
    report, shown = composed(**{hook: fails})
    assert "own" not in report.sections
    assert "KeyError: 'lost'" in report.missing["own"].reason
    assert shown == (Empty("not-measured", report.missing["own"].reason, title="Own"),)


def test_blocks_that_fail_leave_the_figures_and_say_so(composed):
    report, shown = composed(blocks=fails)
    assert report.sections["own"] == {"number": 3}
    assert "KeyError: 'lost'" in shown[0].text


def test_advice_that_fails_is_none(composed):
    report, _ = composed({"trials": 20}, advise=fails)
    assert report.findings.next_step is not None


def test_an_error_of_the_user_is_no_bug_of_a_section(composed):
    def wrong(*_):
        raise UsageError("the file is missing")

    with pytest.raises(UsageError):
        composed(compute=wrong)


def test_a_section_without_figures_is_left_out(composed):
    report, shown = composed(compute=lambda *_: None)
    assert shown is None
    assert "own" not in report.sections | report.missing
