"""The hook of mkdocs.yml: adds pages of the project outside docs/ to the site, and turns links.

Every Markdown file of benchmarks/, the README (as the first page), CONTRIBUTING and CHANGELOG are
pages; other files that pages link to are copied.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")
_PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")


def _place(path: str) -> str:
    """The place on the site of a file of the project.

    >>> _place("docs/report.md"), _place("README.md"), _place("benchmarks/README.md")
    ('report.md', 'index.md', 'benchmarks/README.md')
    """
    return "index.md" if path == "README.md" else path.removeprefix("docs/")


def _source(place: str) -> str:
    """The file of the project at a place on the site."""
    if place == "index.md":
        return "README.md"
    return f"docs/{place}" if (ROOT / "docs" / place).is_file() else place


def _linked(source: str) -> set[str]:
    """The files of the project that a page links to."""
    text = (ROOT / source).read_text(encoding="utf-8")
    folder = posixpath.dirname(source)
    return {posixpath.normpath(posixpath.join(folder, link)) for link in _LINK.findall(text)}


def on_files(files: Files, config: Any) -> Files:
    """Add pages, and the files that any page links to."""
    pages = {*_PAGES, *(str(p.relative_to(ROOT)) for p in (ROOT / "benchmarks").rglob("*.md"))}
    linked = {one for page in files.documentation_pages() for one in _linked(_source(page.src_uri))}
    linked |= {one for page in pages for one in _linked(page)}
    for path in sorted(pages | {one for one in linked if (ROOT / one).is_file()}):
        if files.get_file_from_path(_place(path)) is None:
            files.append(File.generated(config, _place(path), abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turn links between files of the project into links between places on the site."""
    source = _source(page.file.src_uri)

    def turned(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1]))
        return os.path.relpath(_place(target), posixpath.dirname(page.file.src_uri) or ".")

    return _LINK.sub(turned, markdown)
