"""The documentation names what there is, and the generated pages are current."""

import ast
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from make_run import Shape, make_run
from typer.main import get_command
from typer.testing import CliRunner

from sweeper import spec
from sweeper.artifact import Record
from sweeper.cli.main import app
from sweeper.planning.rulebook.book import rule_book
from sweeper.specfile import known_strategies, resolve

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [*map(ROOT.joinpath, ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")), *DOCS.glob("*.md")]


def test_generated_pages_are_up_to_date():
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}: run 'make docs'"


PROGRAM = get_command(app)
CONTEXT = PROGRAM.make_context("sweeper", [], resilient_parsing=True)


@pytest.mark.parametrize("name", PROGRAM.list_commands(CONTEXT))
def test_every_command_is_documented_and_has_help(name):
    assert PROGRAM.get_command(CONTEXT, name).help
    assert f"## sweeper {name}" in (DOCS / "commands.md").read_text()


def test_every_strategy_is_documented():
    page = (DOCS / "strategies.md").read_text()
    assert all(f"\n## {name}\n" in page for name in known_strategies())


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The example of ``sweep.yaml`` as a file, with data beside it, in the current folder."""
    monkeypatch.chdir(tmp_path)
    text = re.search(r"```yaml\n(.*?)```", (DOCS / "sweep-yaml.md").read_text(), re.DOTALL)[1]
    Path("sweep.yaml").write_text(text)
    rows = [{"text": f"Ticket {n} is late", "label": "ab"[n % 2]} for n in range(60)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Path("sweep.yaml")


def test_the_example_of_sweep_yaml_has_every_key_and_is_planned(example):
    options = {name: field.annotation for name, field in spec.FeatureOptions.model_fields.items()}
    sections = [
        one
        for module in (spec, *(sys.modules[kind.__module__] for kind in options.values()))
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, Record) and one.__module__ == module.__name__
    ]
    keys = {key for section in sections for key in section.model_fields}
    keys = (keys | options.keys()) - {"schema_version"}
    pattern = r"(?:^[\s#-]*|[{,] *)([a-z_]+):(?=\s)"
    named = set(re.findall(pattern, example.read_text(), re.MULTILINE))
    strategies = rule_book().strategies
    values = {name for one in strategies.values() for name in one.parameters}
    assert keys <= named
    assert named - keys <= {*values, *strategies, "all", "text", "label"}
    done = CliRunner().invoke(app, ["plan", str(example)])
    assert done.exit_code == 0, done.output
    assert "rows.jsonl: 60 examples" in done.output


def test_the_example_of_sweep_yaml_shows_the_defaults(example):
    resolved = resolve({}, example)
    sections = ("data", "hardware", "aim", "training", "search", "evaluation")
    changed = {
        f"{name}.{key}"
        for name in sections
        for key, value in getattr(resolved, name)
        if value != getattr(type(getattr(resolved, name))(), key)
    }
    assert changed == {"data.path", "data.columns", "aim.strategies"}


NOT_RUN = re.compile(r"<!-- not run by tests: [^>]+ -->\n\Z")
# What needs training, a browser or another machine is read by the command line's own parser only.
TRIED = ("plan", "run", "memory", "rules", "schema", "explain", "list", "show", "ledger")


def command_lines():
    """Every line of a code block that calls sweeper: page, line, whether its block is marked."""
    for page in PAGES:
        text = page.read_text()
        for block in re.finditer(r"^```[a-z]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            marked = NOT_RUN.search(text[: block.start()]) is not None
            for line in block[1].splitlines():
                if found := re.match(r"\s*(?:\$ )?(?:\w+=\S+ )*(?:\w+ \S+ \| )?sweeper (.+)", line):
                    yield pytest.param(found[1], marked, id=f"{page.name}: {line[:60]}")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with what the pages' commands name: rows, texts, a sweep.yaml, ended runs."""
    folder = tmp_path_factory.mktemp("pages")
    labelled = [{"text": f"Ticket {n} is late", "label": "ab"[n % 2]} for n in range(60)]
    asked = [{"instruction": f"Say {n}", "output": f"It is {n}."} for n in range(60)]
    for name, rows in (("rows", labelled), ("general", asked), ("texts", asked)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines)
    (folder / "instructions.jsonl").write_text((folder / "general.jsonl").read_text())
    (folder / "texts.txt").write_text("\n\n".join(f"A text of number {n}." for n in range(60)))
    example = re.search(r"```yaml\n(.*?)```", (DOCS / "sweep-yaml.md").read_text(), re.DOTALL)[1]
    (folder / "sweep.yaml").write_text(example)
    for name in ("demo", "NAME"):
        make_run(folder / "runs", Shape(name=name, trials=3))
    return folder


@pytest.mark.parametrize(("line", "marked"), list(command_lines()))
def test_a_command_on_a_page_works_or_is_marked(line, marked, workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    words = shlex.split(re.sub(r" > \S+$", "", line), comments=True)
    if marked or words[0] not in TRIED:
        assert marked, "mark the block: <!-- not run by tests: WHY -->"
        name, command, rest = PROGRAM.resolve_command(CONTEXT, words)
        with command.make_context(name, rest):
            return
    if words[0] == "run":  # up to the first training
        words += ["--dry-run", "--backend", "none:none"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, f"{done.output}{done.exception!r}"


def test_every_message_in_the_troubleshooting_page_is_one_of_the_program():
    # Adjacent string literals are one message.
    sources = (path.read_text() for path in sorted((ROOT / "sweeper").rglob("*.py")))
    said = re.sub(r"""["']\s+f?["']""", "", "\n".join(sources))
    page = (DOCS / "troubleshooting.md").read_text()
    shown = [
        line
        for block in re.findall(r"```text\n(.*?)```", page, re.DOTALL)
        for line in block.splitlines()
    ]
    pieces = {piece.strip(" (),;") for line in shown for piece in line.split("...")}
    assert len(shown) > 30
    assert [piece for piece in sorted(pieces) if piece not in said] == []


def test_every_link_between_pages_leads_somewhere():
    for page in PAGES:
        for target in page.read_text().split("](")[1:]:
            link = target.split(")")[0]
            if "://" not in link:
                name, _, heading = link.partition("#")
                leads_to = page.parent / name if name else page
                assert leads_to.exists(), f"{page.name}: {link}"
                assert not heading or heading in _anchors(leads_to), f"{page.name}: {link}"


def _anchors(page):
    """The fragments that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one).lower().replace(" ", "-") for one in headings}


@pytest.mark.parametrize("name", ["security.md", "surviving.md"])
def test_every_promise_of_a_page_names_tests_that_exist(name):
    rows = (DOCS / name).read_text().partition("\n## Tests\n")[2].splitlines()
    named = {row: re.findall(r"`([\w/]+\.py)::(test_\w+)`", row) for row in rows[5:]}
    assert len(named) > 20
    for row, tests in named.items():
        assert tests, row
        assert row.count("::") == len(tests), row
        for file, test in tests:
            tree = ast.parse((ROOT / "tests" / file).read_text())
            assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_module_that_a_page_names_exists():
    named = re.compile(
        r"(?<![\w./])(?:sweeper|tests|search_spaces|benchmarks|examples)/[\w./-]*\w/?"
    )
    to_be_written = re.compile(r"For example\s`(.+?)`:")
    found = 0
    for page in PAGES:
        text = page.read_text()
        for path in set(named.findall(text)).difference(to_be_written.findall(text)):
            found += 1
            assert (ROOT / path).exists(), f"{page.name}: {path}"
    assert found > 50


def walks():
    """The walks of "Follow one value": title, and the files with what happens in each."""
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    part = page.split("\n## Follow one value\n")[1].split("\n## ")[0]
    for walk in part.split("\n### ")[1:]:
        rows = re.findall(r"^\| `([\w/.-]+)` \| (.*) \|$", walk, re.MULTILINE)
        yield pytest.param(walk, rows, id=walk.splitlines()[0])


def leads_to(file, named, others):
    """Whether a walk's other files import this file, are imported by it, or have its names."""
    texts = {path: (ROOT / path).read_text(encoding="utf-8") for path in (file, *others)}
    imports = {path: re.findall(r"^from ([\w.]+) import", texts[path], re.M) for path in texts}
    module, names = file.removesuffix(".py").replace("/", "."), {n.split(".")[-1] for n in named}
    return any(
        module in imports[other]
        or other.removesuffix(".py").replace("/", ".") in imports[file]
        or any(re.search(rf"\b{name}\b", texts[other]) for name in names)
        for other in others
    )


@pytest.mark.parametrize(("walk", "rows"), [*walks()])
def test_a_walk_is_short_and_takes_one_wrong_turn_at_most(walk, rows):
    """A wrong turn: a file to which no earlier one of the walk leads, within a stage (a folder)."""
    files = [file for file, _ in rows]
    assert {*re.findall(r"`([\w/-]+\.(?:py|yaml))`", walk)} <= {*files, "sweep.yaml"}
    assert 10 < len(files) <= 14
    folders = [Path(file).parts[:2] for file in files]
    wrong = [
        file
        for at, (file, what) in enumerate(rows)
        if folders[at][0] in {path[0] for path in folders[:at]} - {"sweeper"}
        or folders[at] in folders[:at]
        if not leads_to(file, re.findall(r"`([a-zA-Z]\w*(?:\.\w+)?)`", what), files[:at])
    ]
    assert len(wrong) <= 1, wrong


def test_a_value_passes_through_the_files_that_the_page_names():
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w/.-]+)` \| (.*) \|$", page, re.MULTILINE)
    told = 0
    for file, what in rows:
        for name in re.findall(r"`([a-zA-Z]\w*(?:\.\w+)?)`", what):
            if not name.endswith(".json"):
                told += 1
                text = (ROOT / file).read_text(encoding="utf-8")
                assert name.rpartition(".")[2] in text, f"{file} does not know {name}"
    assert told > 10


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


def test_the_site_is_built_without_warnings_and_asks_no_other_host(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-c", "docs", ".", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "README.html").read_text()
    assert not re.search(r"<(?:script|img|link)[^>]*(?:src|href)=\"https?://", page)
    assert 'href="docs/planning.html"' in page
    assert 'href="../benchmarks/search/README.html#' in (tmp_path / "docs/search.html").read_text()
    assert (tmp_path / "index.html").is_file()
