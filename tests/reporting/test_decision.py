"""What changes the decision is on the first screen or among the limits, never folded."""

import page_tree
import pytest

from sweeper.findings.findings import Limitation
from sweeper.reporting.compose import report_of
from sweeper.reporting.document import Report
from sweeper.reporting.write import html
from sweeper.trials import Measure, TrialResult

LIMIT = Limitation(
    id="data-leakage",
    text="80 test rows are copies.",
    action="Remove them.",
    rows=80,
    share=0.7,
    could_change_verdict=True,
)


def seen(report: Report, section: str) -> str:
    """The text of a section that nothing hides."""
    part = page_tree.parse(html(report)).one("section", id=section)
    return " ".join(one.text for one in part.children if one.tag != "details")


def changed(report, **findings):
    return report.model_copy(update={"findings": report.findings.model_copy(update=findings)})


def test_a_limit_that_could_change_the_verdict_stands_with_it_and_before_all_others(report):
    harmless = LIMIT.model_copy(update={"could_change_verdict": False})
    others = [harmless.model_copy(update={"id": f"x{n}", "text": f"Other {n}."}) for n in range(9)]
    made = changed(report(trials=12), limits=(*others, LIMIT))
    assert "This could change the verdict: 80 test rows are copies. Remove them." in (
        seen(made, "verdict")
    )
    assert seen(made, "limits").index("80 test rows") < seen(made, "limits").index("Other 0.")


def test_many_limits_that_could_change_the_verdict_are_all_shown(report):
    limits = tuple(LIMIT.model_copy(update={"id": f"x{n}", "text": f"{n} rows are copies."})
                   for n in range(9))  # fmt: skip
    shown = seen(changed(report(trials=12), limits=limits), "limits")
    assert all(limit.text in shown for limit in limits)


def test_faults_of_the_data_are_among_the_limits(report):
    fault = LIMIT.model_copy(update={"could_change_verdict": False})
    others = [fault.model_copy(update={"id": f"x{n}", "rows": None, "text": f"Other {n}."})
              for n in range(9)]  # fmt: skip
    shown = seen(changed(report(trials=12), limits=(*others, fault)), "limits")
    assert "80 test rows are copies." in shown
    assert "Other 8." not in shown


def test_forgetting_beyond_the_limit_is_said_with_the_verdict(make):
    run = make(trials=6, prune=False)
    for path in run.trials.glob("*/result.json"):
        lost = Measure(title="lost", unit="nats/token", value=3.5, base=3.0)
        TrialResult.read(path).model_copy(update={"measures": {"general.text": lost}}).write(path)
    run.spec.write_text(run.spec.read_text() + "features:\n  forgetting:\n    max_points: 2\n")
    assert "Limit of 2 points" in seen(report_of(run), "verdict")


@pytest.mark.parametrize("phase", ["search", "interrupted", "timeout"])
def test_an_unfinished_study_says_so_above_everything_and_recommends_nothing(make, phase):
    run = make(trials=9, asked=20, phase=phase, held=phase == "search", seal=False, seeds=1)
    page = page_tree.parse(html(report_of(run)))
    banner = page.one("p", class_="banner").text
    assert "9 of 20 trials; results may change" in banner
    assert page.one("html").attributes["data-verdict"] == "insufficient"
