"""The page of a data check: everything that the check says, escaped, and nothing to fetch."""

import json

import pytest
from page_tree import parse

from sweeper.data.rows import read_rows
from sweeper.features.quality._check import check
from sweeper.features.quality._page import data_page
from sweeper.spec import DataSpec


@pytest.fixture
def page(tmp_path):
    rows = [{"text": f"what is number {n} of the list", "label": "ab"[n % 2]} for n in range(30)]
    rows += [{"text": "<img src=x onerror=alert(1)> ", "label": "a"}]
    rows += [dict(rows[3]), {"text": "", "label": "b"}]
    path = tmp_path / "<b>rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return parse(data_page(check(read_rows(DataSpec(path=str(path)), None))))


def test_every_finding_has_a_section_with_its_lines_and_its_remedy(page):
    sections = {one.attributes["id"]: one.text for one in page.all("section")}
    assert list(sections) == [*("summary", "empty", "duplicates", "markup", "white-space", "read")]
    assert "rows that repeat an earlier row of the same split: 1 (3.0%)" in sections["duplicates"]
    assert "as line 4" in sections["duplicates"]
    assert "<b>rows.jsonl: 32" in sections["duplicates"]
    assert "--remedy duplicates -o NEW" in sections["duplicates"]
    assert "--all-safe -o NEW" in sections["summary"]
    assert "evaluation-sets: give the evaluation set" in sections["read"]
    assert page.one("a", href="#summary", _class="skip").text == "Skip to the content"


def test_rows_and_names_are_text_and_nothing_is_fetched(page):
    assert not page.all("img")
    assert not page.all("link")
    assert page.one("h1").text == "<b>rows.jsonl"
    policy = next(m for m in page.all("meta") if "Content-Security" in str(m.attributes))
    assert policy.attributes["content"].startswith("default-src 'none'")
    addresses = [a.attributes["href"] for a in page.all("a")]
    assert all(one.startswith("#") for one in addresses)


def test_a_clean_data_set_says_so(tmp_path):
    path = tmp_path / "rows.jsonl"
    words = ("apple", "stone", "river", "cloud", "tiger", "piano", "wheel", "glove")
    rows = [
        {"text": f"the {a} and one {b} are here", "label": "ab"[n % 2]}
        for n, (a, b) in enumerate((a, b) for a in words for b in words if a < b)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    data = read_rows(DataSpec(path=str(path)), None)
    page = parse(data_page(check(data, [])))
    assert page.one("html").attributes["data-verdict"] == "clean"
    assert "No fault was found." in page.one("section", id="summary").text


def test_the_page_names_all_lines_of_a_fault(tmp_path):
    rows = [{"text": f"what is number {n} of the list", "label": "ab"[n % 2]} for n in range(30)]
    for place in (0, 1, 2, 5, 9, *range(20, 30)):
        rows[place]["text"] += "  "
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    data = read_rows(DataSpec(path=str(path)), None)
    text = parse(data_page(check(data))).one("section", id="white-space").text
    assert "rows.jsonl: 1-3, 6, 10, 21-30" in text
