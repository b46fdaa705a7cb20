"""Finds the commands in files without importing the files.

A command file declares its commands at its top level:

    ORDER = 10  # optional: position in the help; low numbers come first
    commands = typer.Typer()  # or typer.Typer(name="data") for commands of the group "data"


    @commands.command("plan")
    def plan(...) -> None:
        ...

The help's overview and the lookup of a command read the syntax tree of these files. A file is
imported only when one of its commands runs or shows its help.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterable, Iterator
from functools import cache, cached_property
from importlib.util import find_spec
from inspect import cleandoc
from pathlib import Path
from typing import Any, NamedTuple

from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from sweeper.errors import UsageError

_DEFAULT_ORDER = 1000


class CommandFile(NamedTuple):
    """The commands that a file declares.

    Args:
        group: The group of the commands; empty if they have none.
        help: The help text of this group; may be empty.
        order: Position in the help; low numbers come first.
        commands: From a command's name to the settings that an overview shows, such as its help.
    """

    module: str
    group: str
    help: str
    order: int
    commands: dict[str, dict[str, Any]]


class _LazyCommand(TyperCommand):
    """A command with the settings that an overview shows; ``load`` imports its file."""

    def __init__(self, name: str, file: CommandFile) -> None:
        super().__init__(name, **file.commands[name])
        self.file = file
        self.order = file.order

    def load(self) -> Any:
        """Import the file and return the real command."""
        group = get_group(importlib.import_module(self.file.module).commands)
        return group.commands[str(self.name)]


class Commands(TyperGroup):
    """A group of commands that the files of some packages declare."""

    def packages(self) -> Iterable[str]:
        """The dotted names of packages and modules with command files."""
        raise NotImplementedError

    @cached_property
    def _files(self) -> list[tuple[str, Path]]:
        """Name and path of each module that may declare commands."""
        return [file for package in self.packages() for file in _modules(package)]

    def _read_files(self, command_name: str | None = None) -> None:
        """Add the commands of all files; with a name, only until the command of this name is added.

        Raises:
            UsageError: Two files declare the same command.
        """
        # A file is usually named after its command.
        files = sorted(self._files, key=lambda file: file[1].stem != command_name)
        for module, path in files:
            file = declarations(module, path)
            if file is not None:
                self._add_commands(file)
                if not file.group and command_name in file.commands:
                    return

    def _add_commands(self, file: CommandFile) -> None:
        """Add the commands of a file to its group, or to the program."""
        group: Any = self
        if file.group:
            new_group = _Group(name=file.group, no_args_is_help=True)
            group = self.commands.setdefault(file.group, new_group)
            if not isinstance(group, _Group):
                _refuse(file.group, file, group)
            group.help = group.help or file.help
            group.order = min(group.order, file.order)
        for name in file.commands:
            command = group.commands.setdefault(name, _LazyCommand(name, file))
            if getattr(command, "file", None) != file:
                _refuse(f"{file.group} {name}".strip(), file, command)

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of all commands in the order of the help."""
        self._read_files()
        commands: dict[str, Any] = dict(self.commands)
        return sorted(commands, key=lambda name: (commands[name].order, name))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name, not loaded; None if there is none."""
        if cmd_name not in self.commands:
            self._read_files(cmd_name)
        return self.commands.get(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Name, loaded command and remaining arguments. An error of a wrong name suggests names."""
        name, command, arguments = super().resolve_command(ctx, args)
        loaded = command.load() if isinstance(command, _LazyCommand) else command
        return name, loaded, arguments


class _Group(Commands):
    """A group of the program, such as ``data``, with the commands of all files that name it."""

    order = _DEFAULT_ORDER

    def packages(self) -> Iterable[str]:
        return ()

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)


def _refuse(name: str, file: CommandFile, command: Any) -> None:
    """Refuse a file that declares the name of an existing command or group.

    Raises:
        UsageError: Always.
    """
    place = command.file.module if isinstance(command, _LazyCommand) else f"the group {name!r}"
    raise UsageError(
        f"the command {name!r} is declared twice",
        why=f"The other declaration is {place}.",
        fix="Rename one of them, or uninstall the package of one.",
        where=file.module,
    )


def _modules(package: str) -> Iterator[tuple[str, Path]]:
    """Each public module of a package, or the module itself, with its path."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    if spec.submodule_search_locations is None:
        yield package, Path(spec.origin)
    for folder in spec.submodule_search_locations or ():
        for path in sorted(Path(folder).glob("[!_]*.py")):
            yield f"{package}.{path.stem}", path


@cache
def declarations(module: str, path: Path) -> CommandFile | None:
    """The commands that a file declares; None if it has no ``commands``.

    Raises:
        UsageError: The file is not Python, or a command's name or help text is computed.
    """
    text = path.read_text(encoding="utf-8")
    if "Typer" not in text:
        return None
    try:
        return _parsed_commands(module, ast.parse(text, str(path)).body)
    except (SyntaxError, ValueError) as error:
        raise UsageError(
            f"the commands of {module} cannot be read ({error})",
            why="Names and help texts of commands are read without running the file.",
            fix="Write them as plain text in the calls of typer.Typer and commands.command.",
            where=str(path),
        ) from error


def _parsed_commands(module: str, body: list[ast.stmt]) -> CommandFile | None:
    values = {
        node.targets[0].id: node.value
        for node in body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    typer_call = values.get("commands")
    if not isinstance(typer_call, ast.Call):
        return None
    group = _literals(typer_call)
    commands: dict[str, dict[str, Any]] = {}
    for function in body:
        if not isinstance(function, ast.FunctionDef):
            continue
        for decorator in function.decorator_list:
            if (
                isinstance(decorator, ast.Call)
                and ast.unparse(decorator.func) == "commands.command"
            ):
                settings = _literals(decorator)
                name = settings.pop("name", function.name.replace("_", "-"))
                help_text = cleandoc(ast.get_docstring(function) or "")
                commands[name] = {"help": help_text, **settings}
    order = ast.literal_eval(values["ORDER"]) if "ORDER" in values else _DEFAULT_ORDER
    return CommandFile(module, group.get("name", ""), group.get("help", ""), order, commands)


def _literals(call: ast.Call) -> dict[str, Any]:
    """The arguments of a call that an overview shows."""
    names = ("name", "help", "short_help", "hidden", "deprecated", "rich_help_panel")
    arguments = {"name": call.args[0]} if call.args else {}
    arguments |= {item.arg: item.value for item in call.keywords if item.arg in names}
    return {name: ast.literal_eval(value) for name, value in arguments.items()}
