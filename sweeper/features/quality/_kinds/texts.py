"""Faults of characters in texts: garbled, invisible, chat markers, HTML, secrets."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

from sweeper.data.contents import is_garbled, visible
from sweeper.data.formats.text import is_templated
from sweeper.data.private import private_in, redacted
from sweeper.data.problems import listing
from sweeper.data.rows import FileRow
from sweeper.features.quality._checked_rows import CheckedRows
from sweeper.features.quality._kinds.base import FaultKind

_NON_ASCII_RUN = re.compile(r"[\x80-\uffff]{2,}")


class Garbled(FaultKind):
    """Lost characters, and UTF-8 that was read as Latin-1 or cp1252."""

    name = "garbled"
    order = 10
    title = "have garbled or lost characters"
    consequence = "The model learns to read and write them as they are."
    remedy = "restore UTF-8 that was read as cp1252; lost characters stay lost"
    safe = True
    needs = "single rows"

    def fault_detail(self, data: CheckedRows, row: FileRow) -> str | None:
        if not is_garbled(_texts(row)):
            return None
        return "" if self.mendable(row) else "characters are lost"

    def mendable(self, row: FileRow) -> bool:
        return restored(_texts(row)) != _texts(row)

    def mended_row(self, data: CheckedRows, row: FileRow) -> FileRow:
        new = data.with_texts(row, restored)
        if row.label and restored(row.label) != row.label:
            new = data.with_label(new, restored(row.label))
        return new


def _texts(row: FileRow) -> str:
    return f"{row.input}\n{row.written}\n{row.label}"


def restored(text: str) -> str:
    """The text with UTF-8 restored that was read as cp1252 or Latin-1.

    >>> restored("cafÃ© and naïve")
    'café and naïve'
    """
    return _NON_ASCII_RUN.sub(lambda match: _decoded(match[0]), text)


def _decoded(run: str) -> str:
    for encoding in ("cp1252", "latin-1"):
        try:
            return run.encode(encoding).decode("utf-8")
        except UnicodeError:
            continue
    return run


class WhiteSpace(FaultKind):
    """White space at an end of a text, and invisible characters."""

    name = "white-space"
    order = 20
    title = "have white space at an end, or invisible characters"
    consequence = "The model learns to write them, and rows that look the same are different."
    remedy = "remove them; white space at the start of an answer stays, since code may need it"
    severity = "note"
    safe = True
    needs = "single rows"

    def fault_detail(self, data: CheckedRows, row: FileRow) -> str | None:
        return "" if row.example and self.mended_row(data, row).fields != row.fields else None

    def mended_row(self, data: CheckedRows, row: FileRow) -> FileRow:
        form = data.forms[row.path].of(row.fields)
        strip: Callable[[str], str] = str.strip if row.label else str.rstrip
        if form.columns.get("completion") == "canonical_solution":
            strip = str  # the answer continues the last line of the prompt
        return data.with_texts(row, lambda text: strip(visible(text)))


_MARKER = re.compile(
    r"<\|im_start\|>(?:system|user|assistant)?\n?|<\|im_end\|>"
    r"|<\|start_header_id\|>\w*<\|end_header_id\|>|<\|eot_id\|>|<\|begin_of_text\|>"
    r"|<start_of_turn>(?:user|model)?\n?|<end_of_turn>"
    r"|<\|(?:user|assistant|system|end)\|>|\[/?INST\]|<</?SYS>>"
    r"|### (?:Response|Instruction|Input):"
)


class Templated(FaultKind):
    """Texts to which a chat template was already applied."""

    name = "templated"
    order = 22
    title = "have chat markers such as [INST] inside their texts"
    consequence = "With a second template around them, the model learns to write markers as words."
    remedy = "remove the markers"
    in_plan = True
    needs = "single rows"

    def fault_detail(self, data: CheckedRows, row: FileRow) -> str | None:
        """Empty if texts have chat markers; None if not, or if the row is a templated text."""
        if row.example is None or row.example.templated:
            return None
        return "" if is_templated(_texts(row)) else None

    @staticmethod
    def mended_text(text: str) -> str:
        """
        >>> Templated.mended_text("[INST] Hello. [/INST]")
        'Hello.'
        """
        return _MARKER.sub("", text).strip() if _MARKER.search(text) else text


_ATTRIBUTES = r"(?:\s+[\w:-]+\s*=[^<>]*|\s*/)?"
_TAG = re.compile(
    r"</?(?:a|abbr|b|big|blockquote|br|center|dd|div|dl|dt|em|font|h[1-6]|hr|i|img|li|ol|p|small"
    rf"|span|strike|strong|sub|sup|table|tbody|td|th|thead|tr|tt|u|ul){_ATTRIBUTES}>",
    re.IGNORECASE,
)
_BREAK = re.compile(rf"<(?:br|/?p|/?div|/li|/tr|/h[1-6]){_ATTRIBUTES}>", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:[a-z][a-z0-9]{1,30}|#\d{1,7}|#x[0-9a-f]{1,6});", re.IGNORECASE)
_ABOUT_MARKUP = re.compile(r"```|\b(?:x?html|xml|css|javascript|web ?page|markup|tags?)\b", re.I)


class Markup(FaultKind):
    """HTML tags and entities, which an export from web pages leaves in texts."""

    name = "markup"
    order = 15
    title = "have HTML tags or entities such as &amp; in their texts"
    consequence = "The model learns to write them."
    remedy = "remove the tags and write the characters that the entities stand for"
    severity = "note"
    needs = "single rows"

    def why_unchecked(self, data: CheckedRows) -> str:
        return "code may hold HTML" if data.task == "code" else ""

    def fault_detail(self, data: CheckedRows, row: FileRow) -> str | None:
        """The first tags; None if there are none, or the row is about markup or holds code."""
        text = f"{row.input}\n{row.written}"
        tags = dict.fromkeys([*_TAG.findall(text), *_ENTITY.findall(text)])
        if self.mended_text(text) == text or _ABOUT_MARKUP.search(text):
            return None
        return listing(tags, 3)

    @staticmethod
    def mended_text(text: str) -> str:
        """
        >>> Markup.mended_text("<p>Fish &amp; <b>chips</b></p>")
        'Fish & chips'
        """
        if not _TAG.search(text) and not _ENTITY.search(text):
            return text
        text_without_tags = _TAG.sub("", _BREAK.sub("\n", text))
        return _ENTITY.sub(lambda match: html.unescape(match[0]), text_without_tags).strip()


class Private(FaultKind):
    """Secrets and personal data, such as keys and addresses."""

    name = "private"
    order = 24
    title = "contain what looks like secrets or personal data"
    consequence = "A model can be made to repeat them: whoever gets the model may get them, too."
    remedy = "replace them by [E-MAIL ADDRESS] and the like"
    severity = "serious"
    in_plan = True
    needs = "single rows"
    mended_text = staticmethod(redacted)

    def fault_detail(self, data: CheckedRows, row: FileRow) -> str | None:
        return ", ".join(private_in(f"{row.input}\n{row.written}")) or None
