"""Commands are found in files, and only the file of the command that is asked for is imported."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

import sweeper as package
from sweeper.cli import find_commands
from sweeper.cli.find_commands import Commands, declarations
from sweeper.cli.main import app
from sweeper.errors import UsageError

COMMANDS = "sweeper.cli.commands."
GREET = '''"""A file of commands."""

import typer

{order}commands = typer.Typer({group})


@commands.command("{name}")
def greet(who: str = "you") -> None:
    """Greet somebody.

    Twice.
    """
    typer.echo(f"{name} {{who}}")


@commands.command(hidden=True)
def {name}_again() -> None:
    """Do something else."""
    typer.echo("{name} again")
'''
RUN = f"""
import json, sys
from sweeper.cli.main import main
try:
    main()
except SystemExit:
    pass
print("\\n" + json.dumps([name for name in sys.modules if name.startswith("{COMMANDS}")]))
"""


def imported(*words: str) -> set[str]:
    """The command files that a process has imported at the end of a command."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *words], capture_output=True, text=True, check=True
    )
    names = json.loads(done.stdout.splitlines()[-1])
    return {name.removeprefix(COMMANDS) for name in names}


@pytest.mark.parametrize(
    ("words", "files"),
    [
        (("--help",), set()),
        ((), set()),
        (("--version",), set()),
        (("plann",), set()),
        (("data", "--help"), set()),
        (("plan", "--help"), {"plan"}),
        (("data", "check", "--help"), set()),
        (("report", "no-such-run"), {"report"}),
    ],
    ids=" ".join,
)
def test_only_the_file_of_the_command_is_imported(words, files):
    assert imported(*words) == files


def test_what_overviews_show_is_what_the_commands_say():
    root = get_command(app)
    context = root.make_context("sweeper", [], resilient_parsing=True)
    names = root.list_commands(context)
    assert names[:3] == ["plan", "run", "report"]
    groups = [root, root.get_command(context, "data")]
    for group in groups:
        assert group.list_commands(context)
        for name in group.list_commands(context):
            shown = group.get_command(context, name)
            loaded = group.resolve_command(context, [name])[1]
            assert (shown.name, shown.help) == (loaded.name, loaded.help)
            assert shown is group or not shown.params


def test_a_file_that_is_added_to_a_copy_is_a_command(tmp_path):
    shutil.copytree(Path(package.__file__).parent, tmp_path / "sweeper")
    text = GREET.format(name="greet", group="", order="ORDER = 15\n")
    (tmp_path / "sweeper/cli/commands/greeting.py").write_text(text)
    text = GREET.format(name="praise", group='name="data"', order="")
    (tmp_path / "sweeper/cli/commands/praise.py").write_text(text)

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "sweeper", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout

    overview = run("--help")
    assert "Greet somebody." in overview
    assert "praise" not in overview
    assert overview.index("│ plan ") < overview.index("│ greet ") < overview.index("│ run ")
    assert run("greet", "--who", "her") == "greet her\n"
    assert "│ praise " in run("data", "--help")
    assert run("data", "praise") == "praise you\n"
    assert "--strict" in run("data", "check", "--help")


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A program whose commands are in the files that a test writes, by dotted name."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(find_commands, "declarations", declarations.__wrapped__)

    def made(files: dict[str, str], *packages: str) -> typer.Typer:
        for name, text in files.items():
            path = tmp_path / f"{name.replace('.', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            (path.parent / "__init__.py").touch()
            path.write_text(text)

        class Program(Commands):
            def packages(self):
                return packages

        program = typer.Typer(cls=Program, no_args_is_help=True)
        program.callback()(lambda: None)
        return program

    before = set(sys.modules)
    yield made
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_places_are_packages_of_command_files_and_single_modules(program):
    files = {
        "base_commands.one": GREET.format(
            name="one", group='name="speech", help="Speak."', order=""
        ),
        "base_commands._helper": GREET.format(name="helper", group="", order=""),
        "base_commands.steps": "commands = None\n",
        "a_feature.commands": GREET.format(name="two", group='name="speech"', order=""),
        "b_feature.commands": GREET.format(name="three", group="", order=""),
    }
    program = program(files, "base_commands", "a_feature.commands", "b_feature.commands")
    root = get_command(program)
    context = root.make_context("program", [], resilient_parsing=True)
    assert root.list_commands(context) == ["speech", "three", "three-again"]
    speech = root.get_command(context, "speech")
    assert speech.help == "Speak."
    assert set(speech.list_commands(context)) == {"one", "one-again", "two", "two-again"}


def test_a_group_may_be_of_features_alone_and_one_command_loads_one_feature(program):
    files = {
        "a_feature.commands": GREET.format(name="one", group='name="speech"', order=""),
        "b_feature.commands": "raise ImportError\nimport typer\ncommands = typer.Typer()\n",
    }
    program = program(files, "a_feature.commands", "b_feature.commands")
    done = CliRunner().invoke(program, ["speech", "one", "--who", "me"])
    assert (done.exit_code, done.output) == (0, "one me\n")
    assert CliRunner().invoke(program, ["speech", "on"]).exit_code == 2


@pytest.mark.parametrize("name", ['greet" + "er', 'greet" "", ('], ids=["computed", "no Python"])
def test_a_file_whose_commands_cannot_be_read_is_named(program, name):
    text = GREET.format(name="greet", group="", order="").replace('"greet"', f'"{name}"')
    program = program({"a_feature.commands": text}, "a_feature.commands")
    done = CliRunner().invoke(program, ["--help"])
    assert isinstance(done.exception, UsageError)
    assert Path(done.exception.problems[0].where).parts[-2:] == ("a_feature", "commands.py")


@pytest.mark.parametrize("groups", [("", ""), ("", 'name="greet"'), ('name="greet"', "")])
def test_a_name_that_two_files_declare_is_refused(program, groups):
    files = {
        f"{place}_feature.commands": GREET.format(name="greet", group=group, order="")
        for place, group in zip("ab", groups, strict=True)
    }
    program = program(files, "a_feature.commands", "b_feature.commands")
    done = CliRunner().invoke(program, ["--help"])
    assert isinstance(done.exception, UsageError)
    assert done.exception.problems[0].where == "b_feature.commands"
