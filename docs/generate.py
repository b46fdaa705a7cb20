"""Writes the pages that are made from the program itself: rules, strategies, commands, fits,
and the table of data formats.

python docs/generate.py            write the pages
python docs/generate.py --check    exit with 1 if one of them is out of date
python docs/generate.py --to DIR   write the pages into another folder

Strategies of installed packages are part of the pages.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import yaml
from fits import fits_page
from typer.main import get_command

from sweeper import resources
from sweeper.cli.main import app
from sweeper.cli.views.plan_view import scalar
from sweeper.data.formats.base import formats
from sweeper.declared.files import strategy_files
from sweeper.exporting.target import targets
from sweeper.planning.rulebook.explanations import effect_texts
from sweeper.planning.rulebook.rules import RuleBook, rule_book
from sweeper.planning.rulebook.shared_parameters import SHARED

DOCS = Path(__file__).parent
NOTE = "<!-- made by `make docs`; edit {source} instead -->"


def rules_page(book: RuleBook) -> str:
    """Every rule with its condition, effects, reason and source."""
    lines = [
        NOTE.format(source="search_spaces/rules/"),
        "",
        "# The rule book",
        "",
        f"{len(book.rules)} rules. `sweeper rules ID` shows one, `sweeper explain` shows which of",
        "them made a plan and which nearly did.",
    ]
    for file, rules in _by_file(book):
        lines += ["", f"## {file}"]
        for rule in rules:
            effects = "; ".join(effect_texts(rule.effects, {}))
            lines += ["", f"### `{rule.id}`: {rule.title}", "", f"*When* {rule.when}.", ""]
            lines += [f"*Then* {effects}.", "", rule.why, "", f"Source: {rule.source}"]
    return "\n".join(lines) + "\n"


def _by_file(book: RuleBook) -> Iterator[tuple[str, list[object]]]:
    files: dict[str, list[object]] = {}
    for rule in book.rules:
        files.setdefault(Path(rule.where.split(":")[0]).name, []).append(rule)
    yield from files.items()


def strategies_page() -> str:
    """Every parameter of every strategy, as its file declares it."""
    lines = [
        NOTE.format(source="search_spaces/strategies/"),
        "",
        "# Strategies and their parameters",
    ]
    for name, path in sorted(strategy_files().paths.items()):
        declared = yaml.safe_load(path.read_text(encoding="utf-8"))
        lines += ["", f"## {name}", "", str(declared.get("title", "")).strip()]
        if "extends" in declared:
            lines += ["", f"With the parameters of {declared['extends']}."]
        lines += _parameters(declared.get("parameters") or {})
    for path in sorted((resources.search_spaces() / "parameters").glob("*.yaml")):
        lines += ["", f"## {path.stem} (shared)", "", _comment(path)]
        lines += _parameters(yaml.safe_load(path.read_text(encoding="utf-8")))
    return "\n".join(lines) + "\n"


def _comment(path: Path) -> str:
    """The comment that a file begins with, as one line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = takewhile(lambda line: line.startswith("#"), lines)
    return " ".join(line.removeprefix("# ") for line in comment)


def _parameters(declared: dict[str, dict[str, object] | str]) -> Iterator[str]:
    for name, parameter in declared.items():
        if isinstance(parameter, str):
            yield from ("", f"- **`{name}`**: shared, see below.")
            continue
        facts = ", ".join(
            f"{key} {scalar(value)}"
            for key, value in parameter.items()
            if key not in ("why", "source", "prior", "when", "condition", SHARED)
        )
        if SHARED in parameter:
            facts = f"shared, with {facts}" if facts else "shared"
        yield from ("", f"- **`{name}`**: {facts}. {parameter.get('why', '')}".rstrip())
        if "source" in parameter:
            yield f"  Source: {parameter['source']}"


def commands_page() -> str:
    """Every command with its options."""
    root = get_command(app)
    context = root.make_context("sweeper", [], resilient_parsing=True)
    lines = [NOTE.format(source="sweeper/cli/"), "", "# Commands", "", root.epilog or ""]
    for name in root.list_commands(context):
        command = root.get_command(context, name)
        if command is None or command.hidden:
            continue
        lines += ["", f"## sweeper {name}", "", (command.help or "").strip(), ""]
        for parameter in command.params:
            if getattr(parameter, "hidden", False) or parameter.name == "help":
                continue
            words = ", ".join(f"`{opt}`" for opt in parameter.opts) or f"`{parameter.name}`"
            lines.append(f"- {words}: {getattr(parameter, 'help', '') or ''}")
    return "\n".join(lines) + "\n"


def data_page() -> str:
    """The page on data, with the table of row formats between its two marks."""
    page = (DOCS / "data.md").read_text(encoding="utf-8")
    before, rest = page.split("<!-- formats", 1)
    mark, after = rest.split("\n", 1)
    after = after[after.index("<!-- end of formats") :]
    rows = [
        f"| {one.name} | {one.columns} | {', '.join(one.tasks) or 'refused'} |"
        for one in formats().values()
    ]
    table = "\n".join(["", "| format | columns | used for |", "|---|---|---|", *rows, "", ""])
    return f"{before}<!-- formats{mark}\n{table}{after}"


def export_page() -> str:
    """The page on exports, with the table of trainers between its two marks."""
    page = (DOCS / "export.md").read_text(encoding="utf-8")
    before, rest = page.split("<!-- targets", 1)
    mark, after = rest.split("\n", 1)
    after = after[after.index("<!-- end of targets") :]
    lines = ["", "| `--to` | strategies | otherwise there | lost |", "|---|---|---|---|"]
    for name, target in targets().items():
        differs = [f"`{setting}`: {why}" for setting, why in target.differs.items()]
        lost = [f"`{setting}`: {why}" for setting, why in target.lost.items()]
        lost += [f"task {task}: {why}" for task, why in target.tasks_left_out.items()]
        cells = (", ".join(target.strategies), "<br>".join(differs) or "-", "<br>".join(lost))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return f"{before}<!-- targets{mark}\n" + "\n".join([*lines, "", ""]) + after


def main() -> int:
    """Write the pages, or say which are out of date."""
    pages = {
        "rules.md": rules_page(rule_book()),
        "strategies.md": strategies_page(),
        "commands.md": commands_page(),
        "data.md": data_page(),
        "export.md": export_page(),
        "fits.md": fits_page(rule_book(), NOTE.format(source="docs/fits.py")),
    }
    stale = []
    folder = Path(sys.argv[sys.argv.index("--to") + 1]) if "--to" in sys.argv else DOCS
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(text, encoding="utf-8")
    print(f"out of date: {', '.join(stale)}" if stale else "all pages are up to date")
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
