"""Hostile names, parameters and errors are inert, and only the page's own style and script run."""

import base64
import csv
import getpass
import hashlib
import json
import re
import socket
import sys
from pathlib import Path

import pytest

from sweeper.plans import Plan, Reason
from sweeper.reporting.compose import report_of
from sweeper.reporting.csvfiles import harmless
from sweeper.reporting.write import write_report
from sweeper.safe_text import visible

SHARED = (
    "findings.json", "report.json", "report.html", "report.md", "trials.csv", "curves.csv",
    "MODEL_CARD.md",
)  # fmt: skip


def test_hostile_strings_are_text_everywhere(pages):
    page = pages["hostile"]
    assert len(page.all("script")) == 1
    assert not page.all("img")
    assert "alert(1)" in page.one("body").text
    assert "{{7*7}}" in page.one("body").text
    assert "49" not in page.one("header").text


@pytest.mark.parametrize("shape", ["mixed", "hostile", "zero"])
def test_the_policy_names_the_style_and_the_script_and_allows_nothing_else(pages, shape):
    page = pages[shape]
    meta = next(m for m in page.all("meta") if m.attributes.get("http-equiv"))
    rules = dict(rule.strip().split(" ", 1) for rule in meta.attributes["content"].split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        text = "".join(page.one(tag).content)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"


def test_no_handlers_no_style_attributes_no_addresses(pages):
    for page in pages.values():
        for element in page.all():
            names = element.attributes
            assert not [name for name in names if name.startswith("on")]
            assert "style" not in names
            assert "src" not in names
            assert names.get("href", "#").startswith("#")


def test_what_cannot_be_seen_is_written_out_in_texts_attributes_and_charts(reports, pages):
    html = reports["unseen"].report_html.read_text()
    assert html == visible(html)
    labels = [text.text for chart in pages["unseen"].all("svg") for text in chart.all("text")]
    assert any("\\u202e" in label for label in labels)


def test_texts_without_end_are_shortened_and_the_configuration_to_copy_is_whole(make, read):
    run = make(trials=4, prune=False, hostile="z" * 100_000)
    run.spec.write_text(f"name: x\ndata: {'y' * 10_000}\n")
    write_report(run, report_of(run))
    html = run.report_html.read_text()
    assert not re.search("z{2001}", html)
    assert "y" * 10_000 in html
    for text in read(run).all("text"):
        assert len(text.text) < 200


def test_the_script_writes_text_only(reports):
    html = reports["mixed"].report_html.read_text()
    script = html[html.rindex("<script>") : html.rindex("</script>")]
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(",
                 "localStorage", "sessionStorage", "fetch(", "XMLHttpRequest"):  # fmt: skip
        assert word not in script


def test_what_people_share_tells_neither_machine_nor_user_nor_secrets(make, monkeypatch):
    monkeypatch.setattr(sys, "prefix", "/opt/tools/venv")
    monkeypatch.setattr(Path, "home", lambda: Path("/data/people/s1234"))
    monkeypatch.setattr(socket, "gethostname", lambda: "gpu-7.lab.example.org")
    monkeypatch.setattr(getpass, "getuser", lambda: "s1234")
    monkeypatch.setenv("HF_TOKEN", "unusual-token")
    monkeypatch.setenv("https_proxy", "http://ann:pr0xypw@proxy:3128")
    said = (
        "/data/people/s1234/a /opt/tools/venv/b /scratch/s1234/c gpu-7 s1234@gpu-7 unusual-token "
        "pr0xypw postgresql://u:p4ss@h/d"
    )
    run = make(trials=3, ends={0: "FAIL"}, detail=said)
    run.spec.write_text(f"data:\n  path: {said}\n")
    plan = Plan.read(run.plan)
    warning = Reason(rule="x", title=said, why=said, source="common practice")
    facts = plan.facts.model_copy(
        update={"data": plan.facts.data.model_copy(update={"path": said})}
    )
    plan = plan.model_copy(update={"warnings": (warning,), "facts": facts})
    plan.write(run.plan)
    write_report(run, report_of(run))
    shared = [run.path / name for name in SHARED]
    for path in shared:
        text = path.read_text()
        for word in ("s1234", "/opt/tools", "gpu-7", "unusual", "pr0xypw", "p4ss", "/data/people"):
            assert word not in text, f"{path.name}: {word}"
    assert "~/a PREFIX/b /scratch/USER/c HOST USER@HOST" in (run.path / "report.json").read_text()


def test_two_labels_of_a_megabyte_leave_the_report_small(make):
    run = make(trials=3, prune=False)
    plan = Plan.read(run.plan)
    labels = tuple(
        label.model_copy(update={"label": "ab"[n] * 10**6}) if n < 2 else label
        for n, label in enumerate(plan.facts.data.labels)
    )
    data = plan.facts.data.model_copy(update={"labels": labels})
    plan = plan.model_copy(update={"facts": plan.facts.model_copy(update={"data": data})})
    plan.write(run.plan)
    written = write_report(run, report_of(run))
    assert "(999,900 more characters)" in run.report_html.read_text()
    assert "<svg" in run.report_html.read_text()
    assert written.no_charts == ""
    assert sum((run.path / name).stat().st_size for name in SHARED) < 10**6


def test_cells_that_a_spreadsheet_would_run_are_quoted(reports):
    for value in ("=1+1", "+1", "-1", "@x", "\t=1", " =1"):
        assert harmless(value) == f"'{value}"
    assert harmless(-1.5) == -1.5
    assert harmless("lora") == "lora"
    with (reports["hostile"].path / "trials.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    numbers = re.compile(r"-?\d")
    for cell in (cell for row in rows for cell in row):
        assert not cell.startswith(("=", "+", "@"))
        assert not cell.startswith("-") or numbers.match(cell)


def test_markdown_has_no_markup_of_strangers(reports):
    for name in ("report.md", "MODEL_CARD.md"):
        text = (reports["hostile"].path / name).read_text()
        body = text.split("-->", 1)[-1]
        assert not re.search(r"(?<!\\)<", body)


def test_the_document_is_plain_json(reports):
    for run in reports.values():

        def refuse(word):
            raise AssertionError(f"{word} is not JSON")

        found = json.loads((run.path / "report.json").read_text(), parse_constant=refuse)
        assert found["schema_version"] >= 1
