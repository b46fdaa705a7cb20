"""The section on forgetting: what was measured, how sure that is, and the front."""

import page_tree
import pytest
from scored_tasks import measured

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
