"""The folders of search spaces and report templates, in the wheel or in the checkout."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

# The C loader is eight times faster; it is missing if PyYAML was built without libyaml.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_PACKAGE = Path(__file__).resolve().parent


def _folder(name: str) -> Path:
    """A folder of data: inside the package in a wheel, beside it in a checkout."""
    installed = _PACKAGE / "_data" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


def search_spaces() -> Path:
    """The folder with ``rules/``, ``strategies/``, and tables such as ``hardware.yaml``."""
    return _folder("search_spaces")


def table(name: str) -> Any:
    """The content of a YAML file in the search spaces."""
    return yaml.load((search_spaces() / name).read_text(encoding="utf-8"), Loader=_LOADER)


def part_of_table(name: str, key: str) -> dict[str, Any]:
    """The entries of a table that contain this key. Only these are parsed, which is faster."""
    text = (search_spaces() / name).read_text(encoding="utf-8")
    blocks = re.split(r"^(?=[^\s#])", text, flags=re.MULTILINE)
    selected = "".join(block for block in blocks if f"\n  {key}:" in block)
    return yaml.load(selected, Loader=_LOADER) or {}


def reports() -> Path:
    """The folder with the report's templates and assets."""
    return _folder("reports")
