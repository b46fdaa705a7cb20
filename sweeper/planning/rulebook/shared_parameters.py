"""Parameters that strategies share, from ``parameters/*.yaml``, and where a strategy includes them.

In a strategy file ``training: shared`` takes over every parameter of ``parameters/training.yaml``
in its place, ``weight_decay: shared`` that one parameter, and
``weight_decay: {shared: true, default: 0.1}`` takes it over with another default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeper.declared.traits import Traits
from sweeper.errors import Problem, near_match
from sweeper.yamlfile import Document, Path_, read_all

SHARED = "shared"


@dataclass
class StrategyFile:
    """A strategy file and where it stands among the folders.

    Args:
        layer: The place of its folder: 0 is what ships, a later folder wins over an earlier one.
        layers: For each parameter the place of the last folder that states something of it.
        parent: The file of the strategy that it extends.
        traits: What the strategy is, whatever its ranges; None where its file is wrong about it.
    """

    document: Document
    layer: int
    layers: dict[str, int] = field(default_factory=dict)
    parent: StrategyFile | None = None
    traits: Traits | None = None


@dataclass
class SharedParameters:
    """The shared parameters of all folders read so far; a later folder's replace earlier ones.

    Args:
        documents: From a parameter's name to the file that declares it, and to its layer.
        files: From the name of a file, without its suffix, to the names of its parameters.
    """

    documents: dict[str, tuple[Document, int]] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)

    def add(self, folder: Path, layer: int, problems: list[Problem]) -> list[Document]:
        """Read every file of a folder; returns these files."""
        documents = []
        for document in read_all(sorted(folder.glob("*.yaml")), problems):
            if not isinstance(document.data, Mapping):
                what = "this file does not declare parameters"
                problems.append(Problem(what, where=document.name))
                continue
            documents.append(document)
            declared = [name for name, item in document.data.items() if isinstance(item, Mapping)]
            names = self.files.setdefault(document.stem, [])
            names += [name for name in declared if name not in names]
            self.documents |= dict.fromkeys(declared, (document, layer))
        return documents

    def include(self, file: StrategyFile, problems: list[Problem]) -> None:
        """Write out the parameters of a strategy file: those it extends, includes and declares.

        Args:
            file: The strategy file; its ``parameters`` are replaced by the whole ones. Those of
                its parent are whole already.
            problems: What it includes and does not exist is appended here.
        """
        whole: dict[str, Any] = {}

        def take(name: str, item: object, place: tuple[Document, Path_], layer: int) -> None:
            whole[name] = item
            file.document.included[("parameters", name)] = place
            file.layers[name] = layer

        if file.parent is not None:
            parent = file.parent
            for name, item in parent.document.data["parameters"].items():
                take(name, item, (parent.document, ("parameters", name)), parent.layers[name])
        for name, item in file.document.data["parameters"].items():
            changed = isinstance(item, Mapping) and item.get(SHARED) is True
            if item != SHARED and not changed:
                whole[name], file.layers[name] = item, file.layer
                continue
            known = [*self.documents, *(() if changed else self.files)]
            if name not in known:
                what, fix = f"there is no shared parameter {name!r}", near_match(str(name), known)
                where = file.document.where(("parameters", name))
                problems.append(Problem(what, "", fix, where))
                continue
            for shared in [name] if name in self.documents else self.files[name]:
                document, layer = self.documents[shared]
                take(shared, document.data[shared], (document, (shared,)), layer)
            if changed:
                own = {key: value for key, value in item.items() if key != SHARED}
                whole[name], file.layers[name] = {**whole[name], **own}, file.layer
        file.document.data["parameters"] = whole
