"""``sweeper report``: where it writes, and what it leaves out."""

import re

import pytest

pytestmark = pytest.mark.usefixtures("preloaded")


@pytest.mark.usefixtures("without_charts")
def test_the_output_of_a_report_is_written_and_one_run_is_no_comparison(sweeper, make_run, here):
    run = make_run(name="mine", trials=6)
    assert "report: out/mine.html" in sweeper("report", "mine", "-o", "out/mine.html").out
    assert (here / "out/mine.html").read_text() == run.report_html.read_text()
    ran = sweeper("report", "mine", "runs/mine", "-o", "both.html")
    assert ran.code == 2
    assert "mine is given 2 times" in ran.err
    assert not (here / "both.html").exists()


def test_no_file_of_a_report_without_texts_holds_rows(sweeper, make_run):
    run = make_run(name="mine", trials=4, prune=False)
    assert "question 0" in run.test_seal.read_text()
    assert sweeper("report", "mine", "--no-texts").code == 0
    for file in run.path.iterdir():
        if file.is_file() and file != run.test_seal:
            assert not re.search(rb"question \d", file.read_bytes()), file.name
    assert "left out of this report" in run.report_html.read_text()
