"""The documentation names what there is, and the generated pages are current."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from sweeper.cli.main import app
from sweeper.specfile import known_strategies

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def test_generated_pages_are_up_to_date():
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}: run 'make docs'"


@pytest.mark.parametrize("name", sorted(get_command(app).commands))
def test_every_command_is_documented_and_has_help(name):
    command = get_command(app).commands[name]
    assert command.help
    assert f"## sweeper {name}" in (DOCS / "commands.md").read_text()


def test_every_strategy_is_documented():
    page = (DOCS / "strategies.md").read_text()
    assert all(f"\n## {name}\n" in page for name in known_strategies())


def test_every_link_between_pages_leads_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.glob("*.md")]:
        for target in page.read_text().split("](")[1:]:
            link = target.split(")")[0]
            if "://" not in link and not link.startswith("#"):
                assert (page.parent / link.split("#")[0]).exists(), f"{page.name}: {link}"


def test_no_text_recommends_the_other_program_of_that_name():
    names = [
        ".ci", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "README.md", "benchmarks", "docs",
        "examples", "pyproject.toml", "reports", "search_spaces", "sweeper", "tests",
    ]  # fmt: skip
    named = [ROOT / name for name in names]
    inside = (path for folder in named if folder.is_dir() for path in folder.rglob("*"))
    texts = {".css", ".html", ".ini", ".js", ".md", ".py", ".sh", ".toml", ".yaml", ".yml", ""}
    files = [path for path in (*named, *inside) if path.is_file() and path.suffix in texts]
    assert len(files) > 500
    # Its name with an extra, or as an argument of pip: neither after a hyphen nor part of a path.
    wrong = re.compile(r"(?<![-\w/.])sweeper\[[a-z]|pip install[^\n`]*[ '\"]sweeper(?![-\w/.])")
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in files
        if path != Path(__file__)
        for match in wrong.finditer(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert not found
