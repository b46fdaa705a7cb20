"""Finds commands in files, without importing them.

A command file declares its commands at its top level:

    ORDER = 10  # optional: the place among the other commands in the help; low numbers come first
    commands = typer.Typer()  # or typer.Typer(name="data"): its commands join the group "data"


    @commands.command("plan")
    def plan(...) -> None:
        ...

Overviews and the search for a name read the syntax tree of these files. A file is imported when
one of its commands runs, or when the help of one of its commands is asked for.
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

_LAST = 1000


class CommandFile(NamedTuple):
    """What one file declares.

    Args:
        group: Group of its commands; empty if they join none.
        help: Help of this group, if the file gives it.
        commands: Names of the commands, each with the texts and marks that an overview shows.
    """

    module: str
    group: str
    help: str
    order: int
    commands: dict[str, dict[str, Any]]


class _Unloaded(TyperCommand):
    """A command as an overview shows it: without its options and its code."""

    def __init__(self, name: str, file: CommandFile) -> None:
        super().__init__(name, **file.commands[name])
        self.file = file
        self.order = file.order

    def load(self) -> Any:
        """The command itself, which imports its file."""
        return get_group(importlib.import_module(self.file.module).commands).commands[
            str(self.name)
        ]


class Commands(TyperGroup):
    """A group whose commands are declared in the files of some packages."""

    def places(self) -> Iterable[str]:
        """The dotted names of packages and modules with command files."""
        raise NotImplementedError

    @cached_property
    def _files(self) -> list[tuple[str, Path]]:
        return [file for package in self.places() for file in _modules(package)]

    def _read(self, wanted: str | None = None) -> None:
        """Add the commands of the files; stop early when a wanted command was added.

        Raises:
            UsageError: Two files declare the same command.
        """
        likely = sorted(self._files, key=lambda file: file[1].stem != wanted)
        for module, path in likely:
            file = declarations(module, path)
            if file is not None:
                self._add(file)
                if not file.group and wanted in file.commands:
                    return

    def _add(self, file: CommandFile) -> None:
        """Add the commands of a file to its group, or to the program itself."""
        group: Any = self
        if file.group:
            new = _Group(name=file.group, no_args_is_help=True)
            group = self.commands.setdefault(file.group, new)
            if not isinstance(group, _Group):
                _refuse(file.group, file, group)
            group.help = group.help or file.help
            group.order = min(group.order, file.order)
        for name in file.commands:
            present = group.commands.setdefault(name, _Unloaded(name, file))
            if getattr(present, "file", None) != file:
                _refuse(f"{file.group} {name}".strip(), file, present)

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of all commands, in the order of the help."""
        self._read()
        named: dict[str, Any] = dict(self.commands)
        return sorted(named, key=lambda name: (named[name].order, name))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name as an overview shows it."""
        if cmd_name not in self.commands:
            self._read(cmd_name)
        return self.commands.get(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Name, loaded command and remaining words; near names are suggested for a wrong one."""
        name, command, rest = super().resolve_command(ctx, args)
        loaded = command.load() if isinstance(command, _Unloaded) else command
        return name, loaded, rest


class _Group(Commands):
    """A group below the program, such as ``data``: the commands of all files that name it."""

    order = _LAST

    def places(self) -> Iterable[str]:
        return ()

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)


def _refuse(name: str, file: CommandFile, present: Any) -> None:
    other = present.file.module if isinstance(present, _Unloaded) else f"the group {name!r}"
    raise UsageError(
        f"the command {name!r} is declared twice",
        why=f"The other declaration is {other}.",
        fix="Rename one of them, or uninstall the package that one comes from.",
        where=file.module,
    )


def _modules(package: str) -> Iterator[tuple[str, Path]]:
    """The module itself, or each public module of a package, with its file."""
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
    """What a file declares, read from its syntax tree; None if it has no ``commands``.

    Raises:
        UsageError: It is not Python, or a name or a help text in it is computed.
    """
    text = path.read_text(encoding="utf-8")
    if "Typer" not in text:
        return None
    try:
        return _declared(module, ast.parse(text, str(path)).body)
    except (SyntaxError, ValueError) as error:
        raise UsageError(
            f"the commands of {module} cannot be read ({error})",
            why="Names and help texts of commands are read without running the file.",
            fix="Write them as plain text in the calls of typer.Typer and commands.command.",
            where=str(path),
        ) from error


def _declared(module: str, body: list[ast.stmt]) -> CommandFile | None:
    values = {
        node.targets[0].id: node.value
        for node in body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    made = values.get("commands")
    if not isinstance(made, ast.Call):
        return None
    group = _literals(made)
    commands: dict[str, dict[str, Any]] = {}
    for function in body:
        if not isinstance(function, ast.FunctionDef):
            continue
        for decorator in function.decorator_list:
            if (
                isinstance(decorator, ast.Call)
                and ast.unparse(decorator.func) == "commands.command"
            ):
                given = _literals(decorator)
                name = given.pop("name", function.name.replace("_", "-"))
                documented = cleandoc(ast.get_docstring(function) or "")
                commands[name] = {"help": documented, **given}
    order = ast.literal_eval(values["ORDER"]) if "ORDER" in values else _LAST
    return CommandFile(module, group.get("name", ""), group.get("help", ""), order, commands)


def _literals(call: ast.Call) -> dict[str, Any]:
    """The arguments of a call that overviews show."""
    shown = ("name", "help", "short_help", "hidden", "deprecated", "rich_help_panel")
    given = {"name": call.args[0]} if call.args else {}
    given |= {item.arg: item.value for item in call.keywords if item.arg in shown}
    return {name: ast.literal_eval(value) for name, value in given.items()}
