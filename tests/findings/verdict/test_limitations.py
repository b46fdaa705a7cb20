"""Faults of the data limit a verdict, and those that could change it are marked."""

from __future__ import annotations

import math
from typing import Any

import pytest
from page_tree import parse

from sweeper.data.examples import DataFault
from sweeper.findings.compute import compute
from sweeper.findings.findings import Findings, Limitation
from sweeper.plans import Plan
from sweeper.reporting.compose import report_of
from sweeper.reporting.write import write_report
from sweeper.trials import TestSeal

WINNER, OTHERS = 0.95, 0.80


def fault(kind: str, share: float, rows: int = 12) -> DataFault:
    return DataFault(
        kind=kind, rows=rows, share=share, text=f"{rows} rows of {kind}", action="Repair them."
    )


@pytest.fixture
def run(make: Any) -> Any:
    """A finished run in which one finalist beats all models by fifteen points."""
    made = make(trials=20, test_items=600, prune=False)
    seal = TestSeal.read(made.test_seal)
    scores = []
    for score in seal.scores:
        right = round((WINNER if score.trial == seal.order[0] else OTHERS) * seal.items)
        items = tuple(float(i < right + (score.seed or 0) % 2) for i in range(seal.items))
        scores.append(score.model_copy(update={"item_scores": items, "predicted": ()}))
    changes = {"scores": tuple(scores), "recommended": seal.order[0]}
    seal.model_copy(update=changes).write(made.test_seal)
    return made


def with_faults(run: Any, *faults: DataFault) -> Findings:
    plan = Plan.read(run.plan)
    data = plan.facts.data.model_copy(update={"faults": faults})
    facts = plan.facts.model_copy(update={"data": data})
    plan.model_copy(update={"facts": facts}).write(run.plan)
    return compute(run)


def limit(findings: Findings, name: str) -> Limitation:
    return next(one for one in findings.limits if one.id == name)


def test_each_kind_of_fault_is_one_limit_with_its_numbers(run: Any) -> None:
    faults = (fault("conflicts", 0.01), fault("unreadable", 0.0, 2), fault("unreadable", 0.02, 3))
    findings = with_faults(run, *faults)
    found = {
        one.id: (one.rows, one.share, one.action)
        for one in findings.limits
        if one.id.startswith("data-")
    }
    assert found == {
        "data-conflicts": (12, 0.01, "Repair them."),
        "data-unreadable": (5, 0.02, "Repair them."),
    }
    assert "2 rows of unreadable" in limit(findings, "data-unreadable").text
    assert "3 rows of unreadable" in limit(findings, "data-unreadable").text


@pytest.mark.parametrize(("wrong", "share"), [(3, None), (120, 0.2)])
def test_test_items_with_a_suspected_label_are_a_limit(
    run: Any, wrong: int, share: float | None
) -> None:
    seal = TestSeal.read(run.test_seal)
    places = range(seal.items)
    change = {
        "predicted": tuple((place + (place < wrong)) % 2 for place in places),
        "confidence": tuple(0.98 if place < wrong else 0.9 for place in places),
        "item_losses": tuple(-math.log(0.01 if place < wrong else 0.9) for place in places),
        "item_scores": tuple(float(place >= wrong) for place in places),
    }
    scores = tuple(
        score.model_copy(update=change if score.trial == seal.order[0] else {})
        for score in seal.scores
    )
    seal.model_copy(update={"scores": scores}).write(run.test_seal)
    found = [one for one in compute(run).limits if one.id == "suspected-labels"]
    assert [(one.rows, one.share) for one in found] == ([] if share is None else [(wrong, share)])


@pytest.mark.parametrize(("share", "could"), [(0.02, False), (0.10, False), (0.20, True)])
def test_a_fault_of_more_items_than_the_difference_could_change_the_verdict(
    run: Any, share: float, could: bool
) -> None:
    findings = with_faults(run, fault("conflicts", share), fault("label-variants", share / 2))
    assert findings.verdict.kind == "recommend"
    assert limit(findings, "data-conflicts").could_change_verdict is could
    assert not limit(findings, "data-label-variants").could_change_verdict
    decisive = findings.decisive_limit
    assert (decisive.id if decisive else None) == ("data-conflicts" if could else None)


def test_of_several_the_one_with_most_items_stands_beside_the_verdict(run: Any) -> None:
    findings = with_faults(run, fault("conflicts", 0.2), fault("leakage", 0.5), fault("form", 0.3))
    assert findings.decisive_limit is not None
    assert findings.decisive_limit.id == "data-leakage"
    write_report(run, report_of(run, "this test draws none"))
    card = parse(run.report_html.read_text()).one("p", id="decisive-limit")
    assert "12 rows of leakage" in card.text
    assert "12 rows of leakage" in (run.path / "report.md").read_text().split("| strategy")[0]


def test_no_limit_stands_beside_a_verdict_that_does_not_exist(make: Any) -> None:
    findings = with_faults(make(trials=20, seeds=1), fault("conflicts", 0.9))
    assert findings.verdict.kind == "insufficient"
    assert limit(findings, "data-conflicts").share == 0.9
    assert findings.decisive_limit is None
