"""A section with a new figure is one file: CONTRIBUTING's example, added to a copy."""

import json

from recipe_copy import add, copied, recipes, run

PATH = "sweeper/reporting/sections/seed_spread.py"


def test_a_new_figure_is_in_page_and_document(make, read, tmp_path):
    made = make(trials=6)
    copy = copied(tmp_path / "copy")
    add(copy, PATH, recipes()[PATH])
    run(copy, "-m", "sweeper", "report", str(made.path))
    document = json.loads((made.path / "report.json").read_text())
    found = document["sections"]["seed-spread"]["trials"]
    assert [one["seeds"] for one in found] == [3, 3, 3]
    assert all(one["spread"] > 0 for one in found)
    page = read(made)
    rows = page.one("section", id="seed-spread").one("table").one("tbody").all("tr")
    assert len(rows) == len(found)
    assert rows[0].attributes["data-k"] == "/sections/seed-spread/trials/0"


def test_where_it_is_not_measured_the_section_says_so(make, read, tmp_path):
    made = make(trials=2, seeds=1, seal=False)
    copy = copied(tmp_path / "copy")
    add(copy, PATH, recipes()[PATH])
    run(copy, "-m", "sweeper", "report", str(made.path))
    document = json.loads((made.path / "report.json").read_text())
    assert "seed-spread" not in document["sections"]
    reason = document["missing"]["seed-spread"]["reason"]
    assert reason in read(made).one("section", id="not-measured").text
