"""Replies that are kept as they come, so that a command that was cut off pays for none twice."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from sweeper.data.examples import digest
from sweeper.features.augmentation._methods import ModelRequest
from sweeper.jsontext import object_of


@dataclass(frozen=True)
class Reply:
    """What a model answered to one request, with the tokens that it counted."""

    text: str
    tokens_in: int = 0
    tokens_out: int = 0


class Replies:
    """The replies of one model, one line of a file each, written as soon as they are there.

    Args:
        path: Of the file. Its lines are read; those that were cut off are not counted.
        model: Replies of other models are other replies.
    """

    def __init__(self, path: Path, model: str) -> None:
        self._model = model
        self._known: dict[str, Reply] = {}
        written = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        for line in written.splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):  # a line that was cut off
                fields = object_of(line)
                key = str(fields.pop("key"))
                self._known[key] = Reply(**fields)
        self._file = path.open("a", encoding="utf-8")
        if written and not written.endswith("\n"):
            self._file.write("\n")

    def known(self, request: ModelRequest) -> Reply | None:
        """The reply to a request, if there is one."""
        return self._known.get(self._key(request))

    def keep(self, request: ModelRequest, reply: Reply) -> None:
        key = self._key(request)
        self._known[key] = reply
        line = {"key": key, **asdict(reply)}
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _key(self, request: ModelRequest) -> str:
        turns = [[message.role, message.content] for message in request.messages]
        return digest(json.dumps([self._model, turns], ensure_ascii=False))
