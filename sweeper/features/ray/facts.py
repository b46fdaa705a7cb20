"""Whether Ray is installed, for ``sweeper doctor``."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper.extras import MachineCheck, install_command, package_check


def doctor() -> Iterator[MachineCheck]:
    """Whether the package can be loaded."""
    yield package_check("Ray", "ray", f"{install_command('ray')}, for --executor ray.")
