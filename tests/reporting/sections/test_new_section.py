"""A section with a new figure is one file: CONTRIBUTING's example, added to a copy."""

import json

from recipe_copy import add, copied, recipes, run

PATH = "sweeper/reporting/sections/seed_spread.py"
REPORTS = """
import sys
from pathlib import Path
from sweeper.reporting.compose import report_of
from sweeper.reporting.write import write_report
from sweeper.runfolder import RunFolder
for path in sys.argv[1:]:
    write_report(RunFolder(Path(path)), report_of(RunFolder(Path(path))))
"""


def test_a_new_figure_is_in_page_and_document_or_listed_as_not_measured(make, read, tmp_path):
    made, short = make(trials=6), make(name="short", trials=2, seeds=1, seal=False)
    copy = copied(tmp_path / "copy")
    add(copy, PATH, recipes()[PATH])
    run(copy, "-c", REPORTS, str(made.path), str(short.path))
    document = json.loads((made.path / "report.json").read_text())
    found = document["sections"]["seed-spread"]["trials"]
    assert [one["seeds"] for one in found] == [3, 3, 3]
    assert all(one["spread"] > 0 for one in found)
    page = read(made)
    rows = page.one("section", id="seed-spread").one("table").one("tbody").all("tr")
    assert len(rows) == len(found)
    assert rows[0].attributes["data-k"] == "/sections/seed-spread/trials/0"

    document = json.loads((short.path / "report.json").read_text())
    assert "seed-spread" not in document["sections"]
    reason = document["missing"]["seed-spread"]["reason"]
    assert reason in read(short).one("section", id="not-measured").text
