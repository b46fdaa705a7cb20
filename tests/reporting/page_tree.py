"""A page as a tree, for assertions on what it says and not on how it is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = {"meta", "link", "input", "br", "img", "hr"}


@dataclass
class Element:
    """One element with its attributes, children and own text."""

    tag: str
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list, repr=False)  # content has them
    content: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All text below without tooltips, spaces joined."""
        return " ".join(self._text.split())

    @property
    def _text(self) -> str:
        parts = (part if isinstance(part, str) else part._text for part in self.content)
        if self.attributes.get("role") == "tooltip":
            return ""
        inline = self.attributes.get("class") == "term" or self.tag == "button"
        return "".join(parts) if inline else f" {''.join(parts)} "

    def all(self, tag: str = "", **attributes: str) -> list[Element]:
        """Every element below with that tag and attributes (``data_trial`` for data-trial)."""
        wanted = {name.strip("_").replace("_", "-"): value for name, value in attributes.items()}
        found = []
        for child in self.children:
            fits = not tag or child.tag == tag
            if fits and all(child.attributes.get(k) == v for k, v in wanted.items()):
                found.append(child)
            found += child.all(tag, **attributes)
        return found

    def one(self, tag: str = "", **attributes: str) -> Element:
        """The only element like that."""
        found = self.all(tag, **attributes)
        assert len(found) == 1, f"{len(found)} elements {tag} {attributes}"
        return found[0]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Element("root", {})
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self._add(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._add(Element(tag, {name: value or "" for name, value in attrs}))

    def _add(self, element: Element) -> None:
        self._open[-1].children.append(element)
        self._open[-1].content.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self._open[-1].tag == tag, f"</{tag}> closes <{self._open[-1].tag}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self._open[-1].content.append(data)


def parse(html: str) -> Element:
    """The tree of a page; a tag that is closed by another one is an error."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.root
