"""``sweeper mcp`` and ``sweeper skill``: for agents that train models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ORDER = 200  # position in the help
commands = typer.Typer()


@commands.command("mcp")
def mcp() -> None:
    """Serve plan, review, memory, check_data, run, status, verdict and predict to an agent (MCP).

    It speaks on standard input and output and works in the current folder. An agent's
    configuration has the command `sweeper mcp`.
    """
    from sweeper.packages import install_command, needed_for

    with needed_for("sweeper mcp", install_command("mcp")):
        from sweeper.features.mcp._server import server
    server().run()


@commands.command("skill")
def skill(folder: Annotated[Path, typer.Argument(help="The project's folder.")] = Path()) -> None:
    """Write a skill folder and AGENTS.md: when an agent asks sweeper, and what it must not do.

    An existing AGENTS.md is kept; the lines to add are then printed.
    """
    from sweeper.textfiles import write_text
    from sweeper.views.console import show_line

    source = Path(__file__).parent / "_skill"
    text = (source / "SKILL.md").read_text(encoding="utf-8")
    lines = (source / "AGENTS.md").read_text(encoding="utf-8")
    skill_file, agents = folder / "skills" / "sweeper" / "SKILL.md", folder / "AGENTS.md"
    skill_file.parent.mkdir(parents=True, exist_ok=True)
    write_text(skill_file, text)
    show_line(f"Written: {skill_file}")
    if agents.exists():
        show_line(f"{agents} exists. Add these lines to it:\n\n{lines}")
        return
    write_text(agents, lines)
    show_line(f"Written: {agents}")
