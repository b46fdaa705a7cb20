"""Parameters that strategies share, from ``parameters/*.yaml``, and where a strategy includes them.

In a strategy file ``training: shared`` takes over every parameter of ``parameters/training.yaml``
in its place, ``weight_decay: shared`` that one parameter, and
``weight_decay: {shared: true, default: 0.1}`` takes it over with another default.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeper.errors import Problem, near_match
from sweeper.yamlfile import Document, read

SHARED = "shared"


@dataclass
class SharedParameters:
    """The shared parameters of all folders read so far; a later folder's replace earlier ones.

    Args:
        documents: From a parameter's name to the file that declares it.
        files: From the name of a file, without its suffix, to the names of its parameters.
    """

    documents: dict[str, Document] = field(default_factory=dict)
    files: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def add(self, folder: Path, problems: list[Problem]) -> list[Document]:
        """Read every file of a folder; returns these files."""
        documents = [(path.stem, read(path)) for path in sorted(folder.glob("*.yaml"))]
        for name, document in documents:
            problems += document.problems
            if not isinstance(document.data, Mapping):
                what = "this file does not declare parameters"
                problems.append(Problem(what, where=document.name))
                document.data = {}
            self.files[name] = tuple(document.data)
            self.documents |= dict.fromkeys(document.data, document)
        return [document for _, document in documents]

    def include(self, document: Document, parent: Document | None, problems: list[Problem]) -> None:
        """Write out the parameters of a strategy file: those it extends, includes and declares.

        Args:
            document: The strategy file; its ``parameters`` are replaced by the whole ones.
            parent: The file of the strategy that it extends, whole already.
            problems: What it includes and does not exist is appended here.
        """
        whole: dict[str, Any] = {}

        def take(name: str, other: Document, path: tuple[str, ...]) -> None:
            whole[name] = other.data["parameters"][name] if len(path) > 1 else other.data[name]
            document.included[("parameters", name)] = (other, path)

        if parent is not None:
            for name in parent.data["parameters"]:
                take(name, parent, ("parameters", name))
        for name, item in document.data["parameters"].items():
            changed = isinstance(item, Mapping) and item.get(SHARED) is True
            if item != SHARED and not changed:
                whole[name] = item
                continue
            known = [*self.documents, *(() if changed else self.files)]
            if name not in known:
                what, fix = f"there is no shared parameter {name!r}", near_match(name, known)
                where = document.where(("parameters", name))
                problems.append(Problem(what, "", fix, where))
                continue
            for shared in self._names(name):
                take(shared, self.documents[shared], (shared,))
            if changed:
                own = {key: value for key, value in item.items() if key != SHARED}
                whole[name] = {**whole[name], **own}
        document.data["parameters"] = whole

    def _names(self, name: str) -> Iterable[str]:
        return (name,) if name in self.documents else self.files[name]
