"""The section on forgetting: what was measured, how sure that is, and the front."""

import page_tree
import pytest
from scored_tasks import measured

from sweeper.reporting.compose import report_of
from sweeper.reporting.write import html


@pytest.fixture
def parse():
    return page_tree.parse


def test_forgetting_is_a_third_cost(make, parse):
    page = parse(html(measured(make(trials=12))))
    section = page.one("section", id="cost")
    assert [one.text for one in section.all("label")] == ["time", "memory", "lost on general text"]
    assert len(section.all("svg")) == 4
    assert "lost on general text" in page.one("section", id="strategies").text


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ({}, "classification head"),
        ({"task": "instruction", "model": "packaged:smollm2"}, "was not scored"),
    ],
)
def test_without_figures_the_section_says_what_it_takes(make, parse, shape, said):
    found = parse(html(report_of(make(trials=3, **shape)))).one("section", id="not-measured")
    assert said in found.text
    assert not found.all("figure")
