"""The example report in ``reports/`` is what this version writes of the demo."""

import re
import sys
from pathlib import Path

import pytest

from sweeper import __version__
from sweeper.reporting.compose import sections

REPORTS = Path(__file__).parents[2] / "reports"
REMEDY = "out of date: make demo example-report"


@pytest.fixture(scope="module")
def text():
    return (REPORTS / "example.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def example(text):
    return sys.modules["page_tree"].parse(text)


def test_it_has_this_versions_style_script_and_sections(text, example, pages):
    for name in ("report.css", "report.js"):
        assert (REPORTS / "assets" / name).read_text() in text, REMEDY
    generator = next(
        one for one in example.all("meta") if one.attributes.get("name") == "generator"
    )
    assert generator.attributes["content"] == f"sweeper {__version__}", REMEDY
    found, expected = (
        {one.attributes["id"]: one.one("h2").text for one in page.all("section")}
        for page in (example, pages["mixed"])
    )
    assert [*found][:4] == [*expected][:4], REMEDY
    headings = {section.HEADING.id: section.HEADING.title for section in sections()}
    assert found.items() <= (headings | expected).items(), REMEDY


def test_the_columns_of_its_tables_are_those_of_this_version(example, pages):
    for name in ("strategy-table", "trial-table", "predicted"):
        told = [
            {
                column.attributes["data-title"].partition(" minus")[0]
                for column in page.one("table", id=name).all("th")
            }
            for page in (example, pages["none-pruned"])  # on a CPU, as the example
        ]
        assert told[0] == told[1], REMEDY


def test_it_says_that_fine_tuning_pays(example):
    assert "Fine-tuning pays" in example.one("section", id="verdict").text


def test_it_is_one_small_file_that_names_no_place_of_the_machine_that_made_it(text):
    assert len(text) < 2_000_000
    assert not re.search(r"(?<![\w.])/(?:home|root|tmp|Users|work)/", text)
