import sys
from pathlib import Path

from sweeper.features.mcp._tools import TOOLS


def test_the_skill_names_every_tool_and_keeps_an_agents_file(sweeper):
    Path("project").mkdir()
    assert sweeper("skill", "project").code == 0
    text = Path("project/skills/sweeper/SKILL.md").read_text()
    assert text.startswith("---\nname: sweeper\n")
    asked = {tool.__name__ for tool in TOOLS} - {"predict"}
    assert all(f"`{name}`" in text for name in asked)
    agents = Path("project/AGENTS.md")
    assert "SKILL.md" in agents.read_text()
    agents.write_text("my own")
    again = sweeper("skill", "project")
    assert (again.code, agents.read_text()) == (0, "my own")
    assert "sweeper plan" in again.out


def test_without_the_package_the_error_names_the_extra(sweeper, monkeypatch):
    for module in ("mcp", "mcp.server"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "sweeper.features.mcp._server", raising=False)
    ran = sweeper("mcp")
    assert (ran.code, "[mcp]" in ran.err) == (2, True)
