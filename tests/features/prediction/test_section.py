"""The next step of a study whose winner nothing hinders is to ask it."""

from sweeper.features.prediction import section
from sweeper.findings.compute import compute
from sweeper.findings.verdict.next_step import next_step
from sweeper.reporting.compose import page, report_of, sections


def test_it_advises_last_to_ask_the_winner_and_has_no_place_on_the_page(make_run):
    run = make_run()
    findings = compute(run)
    step = section.advise(None, findings)
    assert step.command == f'sweeper predict {run.path} "a text"'
    assert step.because == ""
    assert next_step(findings, [step]) == step
    assert [one for one in sections() if hasattr(one, "advise")][-1] is section
    report = report_of(run)
    assert section.HEADING.id not in {shown.id for shown in page(report).sections}
