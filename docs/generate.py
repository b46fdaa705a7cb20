"""Writes the pages that are made from the program itself: rules, strategies, commands, fits,
the tables of data formats and codes of errors, and the picture of a plan.

python docs/generate.py            write the pages
python docs/generate.py --check    exit with 1 if one of them is out of date
python docs/generate.py --to DIR   write the pages into another folder

Strategies of installed packages are part of the pages.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml
from fits import fits_page
from pictures import plan_picture
from typer.main import get_command

import sweeper
from sweeper import errors, resources
from sweeper.cli.main import app
from sweeper.data.formats.row_format import formats
from sweeper.errors import SweeperError
from sweeper.features.doctor._results import Results
from sweeper.features.exporting._configuration import targets
from sweeper.features.loader import yaml_folders
from sweeper.features.quality._kinds.base import kinds
from sweeper.findings.words import value as value_text
from sweeper.planning.rulebook.book import Note, Rule, RuleBook, rule_book
from sweeper.planning.rulebook.strategy_files import SHARED
from sweeper.spec import Spec
from sweeper.specfile import FLAGS
from sweeper.traits.traits import strategy_files
from sweeper.yamlfile import KeyPath

DOCS = Path(__file__).parent
NOTE = "<!-- made by `make docs`; edit {source} instead -->"


def rules_page(book: RuleBook) -> str:
    """Every rule with its condition, effects, reason and source."""
    changing = sum(isinstance(rule, Rule) for rule in book.rules)
    lines = [
        NOTE.format(source="search_spaces/rules/"),
        "",
        "# The rule book",
        "",
        f"The plan applies {changing} rules. Each has a condition (*When*), its effects, a reason",
        "and a source. If two rules set the same range or default, the later one counts.",
        f"{len(book.rules) - changing} notes change nothing: the plan shows their text. The source",
        "of rules and notes without one is common practice.",
        "",
        "`sweeper explain` shows the rules that fired in a plan. `sweeper rules ID` shows one rule",
        "with its facts, and `sweeper rules --facts` lists all facts. A comparison with a fact",
        "that is unknown (neither given nor measured) does not hold.",
        "",
        "| text | meaning |",
        "|---|---|",
        "| {examples}, ... | a fact that the plan fills in from your data, model or machine |",
        "| lora, full, head, ... | [strategies](strategies.md); each with its expected quality |",
        "| the form of a text | its wording and word order, in contrast to its topic |",
        "| own measurement, not kept | measured by this project; the files were not kept |",
        "",
        "An effect that begins with a question, such as *How much data?*, is a sentence of the",
        "plan's answer to it (`sweeper plan -v`).",
    ]
    for path, rules in _by_file(book):
        title = _comment(path).partition(". ")[0]
        lines += ["", f"## {title.rstrip('.')}"]
        for rule in rules:
            title = f": {rule.title}" if isinstance(rule, Rule) else ""
            lines += ["", f"### `{rule.id}`{title}", "", f"*When* `{rule.when}`:", ""]
            lines += [f"- {line.replace('<', '&lt;')}" for line in rule.lines({})]
            lines += ["", rule.why] if isinstance(rule, Rule) else []
            lines += ["", f"*Source:* {rule.source}"] if rule.source != "common practice" else []
    return "\n".join(lines) + "\n"


def _by_file(book: RuleBook) -> Iterator[tuple[Path, list[Note]]]:
    files: dict[Path, list[Note]] = {}
    for rule in book.rules:
        files.setdefault(Path(rule.where.split(":")[0]), []).append(rule)
    yield from files.items()


def strategies_page() -> str:
    """Every strategy in words, and its parameters as tables with their reasons."""
    lines = [
        NOTE.format(source="search_spaces/strategies/ and search_spaces/parameters/"),
        "",
        "# Strategies and their parameters",
        "",
        "The search starts in the *range*, and can widen it up to the *allowed* range. *(log)*",
        "means a logarithmic scale. [Rules](rules.md) change ranges and defaults to suit model,",
        "data and device; `sweeper explain` shows these changes for a plan.",
        "",
        "| text | meaning |",
        "|---|---|",
        "| searched: yes | trials have different values |",
        "| searched: no | trials have the default, unless a rule or your configuration sets it |",
        "| searched: only if declared | in trials only if `parameters` in `sweep.yaml` names it |",
        "| own measurement, not kept | measured by this project; the files were not kept |",
    ]
    folders = [resources.search_spaces() / "parameters", *yaml_folders("parameters")]
    files = [file for folder in folders for file in sorted(folder.glob("*.yaml"))]
    shared = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in files}
    for name, path in sorted(strategy_files().paths.items()):
        declared = yaml.safe_load(path.read_text(encoding="utf-8"))
        lines += ["", f"## {name}", "", _about(name, declared)]
        lines += _parameters(declared.get("parameters") or {}, shared)
    for path in files:
        lines += ["", f"## {path.stem} (shared)", "", _comment(path)]
        lines += _parameters(shared[path.stem], {})
    return "\n".join(lines) + "\n"


def _about(name: str, declared: dict[str, object]) -> str:
    """What a strategy is and how well it does, as a paragraph."""
    parts = [f"**{str(declared.get('title', name)).strip()}.**", str(declared.get("what") or "")]
    if isinstance(quality := declared.get("quality"), dict):
        parts.append(f"Quality: {quality['text']}. Source: {quality['source']}.")
    if parent := declared.get("extends"):
        parts.append(f"It has the parameters of [{parent}](#{parent}).")
    return " ".join(part for part in parts if part)


def _comment(path: Path) -> str:
    """The comment that a file begins with, as one line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = takewhile(lambda line: line.startswith("#"), lines)
    return " ".join(line.removeprefix("# ") for line in comment)


def _parameters(
    declared: dict[str, Any], shared: dict[str, dict[str, dict[str, Any]]]
) -> Iterator[str]:
    """A table of ranges, then the reasons and sources.

    Args:
        declared: From a parameter's name to its fields, or to the word that it is shared.
        shared: The groups of shared parameters.
    """
    own = {name: entry for name, entry in declared.items() if isinstance(entry, dict)}
    group = {name: title for title, fields in shared.items() for name in fields}
    titles = {name: name if name in shared else group[name] for name in declared.keys() - own}
    links = [f"[{name}](#{titles[name]}-shared)" for name in declared if name in titles]
    if links:
        yield from ("", f"Shared parameters: {', '.join(links)}.")
    if own:
        yield from ("", "| parameter | range | allowed | default | unit | searched |")
        yield "|---|---|---|---|---|---|"
        for name, entry in own.items():
            base = shared[group[name]][name] if SHARED in entry else {}
            yield f"| `{name}` | {' | '.join(_cells(base | entry))} |"
    for name, entry in own.items():
        why, source = entry.get("why"), entry.get("source")
        if why or source:
            parts = [str(why)] if why else []
            parts += [f"Source: {source}."] if source else []
            yield from ("", f"- `{name}`: {' '.join(parts)}")


def _cells(fields: dict[str, Any]) -> Iterator[str]:
    """Range, allowed range, default, unit, and whether it is searched."""
    for bounds, choices in (("range", "choices"), ("allowed", "allowed_choices")):
        if bounds in fields:
            low, high = fields[bounds]
            yield f"{value_text(low)} to {value_text(high)}{' (log)' if fields.get('log') else ''}"
        elif choices in fields:
            yield ", ".join(str(value_text(value)) for value in fields[choices])
        else:
            yield "same as range" if bounds == "allowed" else ""
    yield str(value_text(fields["default"])) if "default" in fields else ""
    yield str(fields.get("unit", ""))
    if fields.get("optional"):
        yield "only if declared"
    else:
        yield "no" if fields.get("searched") is False else "yes"


def commands_page() -> str:
    """Every command with its options and their defaults; those of a sweep once."""
    root = get_command(app)
    context = root.make_context("sweeper", [], resilient_parsing=True)

    def loaded(group: Any) -> dict[str, Any]:
        if not hasattr(group, "commands"):
            return {}
        names = group.list_commands(context)
        return {name: group.resolve_command(context, [name])[1] for name in names}

    commands = loaded(root)
    groups = {name: loaded(command) for name, command in commands.items()}
    for name, below in groups.items():
        commands |= {f"{name} {own}": command for own, command in below.items()}
    lines = [NOTE.format(source="sweeper/cli/"), "", "# Commands", "", root.epilog or "", ""]
    lines += ["An option without a default is off, or the plan decides its value.", ""]
    lines += ["## Options that describe a sweep", ""]
    lines += ["`sweeper plan` and `sweeper run` have all of them. Each sets a key of `sweep.yaml`."]
    both = {p.name for p in commands["plan"].params} & {p.name for p in commands["run"].params}
    shared = {p.name for p in commands["plan"].params if p.name in both and p.rich_help_panel}
    by_panel: dict[str, list[Any]] = {}
    for parameter in commands["plan"].params:
        if parameter.name in shared:
            by_panel.setdefault(parameter.rich_help_panel, []).append(parameter)
    for panel, parameters in by_panel.items():
        lines += ["", f"### {panel}", "", *_options(parameters)]
    for name, command in commands.items():
        if command is None or command.hidden:
            continue
        elsewhere = [p for p in command.params if p.name in shared and p.rich_help_panel]
        own = [p for p in command.params if p not in elsewhere]
        lines += ["", f"## sweeper {name}", "", (command.help or "").strip(), ""]
        group = name.split()[0]
        common = _common(groups[group])
        if common and group == name:
            lines += ["Options that several of these commands have:", "", *TABLE, *common]
        elif not hasattr(command, "commands"):
            rows = _rows(own)
            lines += [*TABLE, *(row for row in rows if row not in common)]
            also = [row.split(" | ")[0].strip("| ") for row in rows if row in common]
            lines += ["", f"And {', '.join(also)}, [see above](#sweeper-{group})."] if also else []
        if elsewhere:
            panels = list(dict.fromkeys(p.rich_help_panel for p in elsewhere))
            some = "" if len(elsewhere) == len(shared) else f" under {', '.join(panels)}"
            link = "[options that describe a sweep](#options-that-describe-a-sweep)"
            lines += ["", f"And all {link}{some}."]
    return "\n".join(lines) + "\n"


TABLE = ["| option | meaning | default |", "|---|---|---|"]


def _common(commands: dict[str, Any]) -> list[str]:
    """The rows that several commands of a group have alike."""
    rows = Counter(row for command in commands.values() for row in _rows(command.params))
    return [row for row, number in rows.items() if number > 1]


def _options(parameters: list[Any]) -> list[str]:
    return [*TABLE, *_rows(parameters)]


def _rows(parameters: list[Any]) -> list[str]:
    rows = []
    for option in parameters:
        if getattr(option, "hidden", False) or option.name == "help":
            continue
        names = [*option.opts, *option.secondary_opts]
        words = (
            ", ".join(f"`{name}`" for name in names) if names[0][0] == "-" else f"`{option.name}`"
        )
        meaning = (getattr(option, "help", "") or "").replace("|", "\\|")
        rows.append(f"| {words} | {meaning} | {_default(option)} |")
    return rows


def _key(parameter: Any) -> KeyPath | None:
    """The key of ``sweep.yaml`` that an option sets."""
    return {flag: path for path, flag in FLAGS.items()}.get((parameter.opts or [""])[0])


def _default(parameter: Any) -> str:
    """What holds without the option, where that is known before a plan is made."""
    path, value = _key(parameter), parameter.default
    if path and path[0] in Spec.model_fields and len(path) == 2:
        section = Spec.model_fields[path[0]].get_default(call_default_factory=True)
        value = getattr(section, str(path[1]), None)
    if value is None or value is False or value in ("", [], (), {}) or callable(value):
        return "required" if parameter.required else ""
    return f"`{value_text(value) if isinstance(value, float) else value}`"


def _between(name: str, mark: str, lines: Iterable[str]) -> str:
    """A page with these lines between ``<!-- MARK`` and ``<!-- end of MARK``."""
    page = (DOCS / name).read_text(encoding="utf-8")
    before, rest = page.split(f"<!-- {mark}", 1)
    note, after = rest.split("\n", 1)
    after = after[after.index(f"<!-- end of {mark}") :]
    return f"{before}<!-- {mark}{note}\n" + "\n".join(["", *lines, "", ""]) + after


def data_page() -> str:
    """The page on data, with the table of row formats."""
    rows = [
        f"| {format_.name} | {format_.columns} | {', '.join(format_.tasks)} |"
        for format_ in formats().values()
    ]
    rated = "`chosen` and `rejected`, `kto_tag`, `completion` with a true or false `label`, ..."
    rows.insert(0, f"| preference | {rated} | refused |")
    head = ["| format | columns | used for |", "|---|---|---|"]
    return _between("data.md", "formats", [*head, *rows])


def _yes(holds: bool) -> str:
    return "yes" if holds else ""


def data_quality_page() -> str:
    """The page on data quality, with the table of kinds of faults."""
    lines = [
        "| kind | rows that ... | severity | remedy | safe |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| `{kind.name}` | {kind.title} | {kind.severity} | {kind.remedy} | {_yes(kind.safe)} |"
        for kind in kinds().values()
    ]
    return _between("data-quality.md", "kinds", lines)


def export_page() -> str:
    """The page on exports, with the table of trainers."""
    lines = ["| `--to` | strategies | set differently | not supported |", "|---|---|---|---|"]
    for name, target in targets().items():
        differs = [f"`{setting}`: {why}" for setting, why in target.differs.items()]
        lost = [f"`{setting}`: {why}" for setting, why in target.lost.items()]
        lost += [f"task {task}: {why}" for task, why in target.tasks_left_out.items()]
        cells = (", ".join(target.strategies), "<br>".join(differs) or "-", "<br>".join(lost))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return _between("export.md", "targets", lines)


def platforms_page(results: Path = DOCS / "tried_on") -> str:
    """The page on platforms, with the table of GPUs on which the checks ran."""
    lines = ["| device | driver, torch | works | fails |", "|---|---|---|---|"]
    for path in sorted(results.glob("*.json")):
        checks = Results.read(path)
        versions = ", ".join(checks.versions.get(name, "none") for name in ("driver", "torch"))
        works = f"{len(checks.check_names('ok'))} checks of {len(checks.results)}"
        device = f"{checks.device.get('name')}, {checks.device.get('gib')} GiB"
        failed = ", ".join(checks.check_names("failed"))
        lines.append(f"| {device} | {versions} | {works} | {failed} |")
    if len(lines) == 2:
        lines = ["Nobody has sent results yet."]
    return _between("platforms.md", "tried on", lines)


def error_codes() -> dict[str, tuple[int, str]]:
    """Exit code and meaning of each code of an error: of the classes, then of single cases."""
    classes = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type)}
    kinds_of_error = {n: kind for n, kind in classes.items() if issubclass(kind, SweeperError)}
    codes = {
        kind.code: (
            kind.exit_code,
            (kind.__doc__ or "").split("\n")[0].split(";")[0].rstrip(".").replace("``", "`"),
        )
        for kind in kinds_of_error.values()
    }
    for path in sorted(Path(sweeper.__file__).parent.rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and ast.unparse(call.func) in kinds_of_error:
                case = [each.value for each in call.keywords if each.arg == "code"]
                if case and isinstance(case[0], ast.Constant):
                    kind = kinds_of_error[ast.unparse(call.func)]
                    said = _words(call.args[0]) or f"see `{kind.code}`"
                    codes.setdefault(str(case[0].value), (kind.exit_code, said))
    return codes


def _words(message: ast.expr) -> str:
    """A message with "..." for its values; empty if it is made elsewhere."""
    if isinstance(message, ast.Constant):
        return str(message.value)
    parts = message.values if isinstance(message, ast.JoinedStr) else []
    return "".join(str(p.value) if isinstance(p, ast.Constant) else "..." for p in parts)


def troubleshooting_page() -> str:
    """The page on messages, with the table of the codes of errors."""
    lines = ["| code | exit code | meaning |", "|---|---|---|"]
    lines += [f"| `{code}` | {status} | {what} |" for code, (status, what) in error_codes().items()]
    return _between("troubleshooting.md", "codes", lines)


def main() -> int:
    """Write the pages, or say which are out of date."""
    pages = {
        "rules.md": rules_page(rule_book()),
        "strategies.md": strategies_page(),
        "commands.md": commands_page(),
        "data.md": data_page(),
        "data-quality.md": data_quality_page(),
        "export.md": export_page(),
        "platforms.md": platforms_page(),
        "troubleshooting.md": troubleshooting_page(),
        "fits.md": fits_page(rule_book(), NOTE.format(source="docs/fits.py")),
        "pictures/plan.svg": plan_picture(),
    }
    stale = []
    folder = Path(sys.argv[sys.argv.index("--to") + 1]) if "--to" in sys.argv else DOCS
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8")
    done = "out of date" if "--check" in sys.argv else "written"
    print(f"{done}: {', '.join(stale)}" if stale else "all pages are up to date")
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
