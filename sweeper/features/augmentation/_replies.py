"""Keeps replies of a model in a file, so that a repeated command pays for none twice."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from sweeper.data.examples import digest
from sweeper.features.augmentation._methods import ModelRequest
from sweeper.textfiles import json_object


@dataclass(frozen=True)
class Reply:
    """A model's reply to one request, with the token counts that the model reports."""

    text: str
    tokens_in: int = 0
    tokens_out: int = 0


class Replies:
    """The replies of one model, in a file with one reply per line, written as they arrive.

    Args:
        path: The file. Its replies are read, except lines that were cut off.
        model: The name of the model. Replies of other models are ignored.
    """

    def __init__(self, path: Path, model: str) -> None:
        self._model = model
        self._by_key: dict[str, Reply] = {}
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        for line in text.splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):  # a line that was cut off
                fields = json_object(line)
                key = str(fields.pop("key"))
                self._by_key[key] = Reply(**fields)
        self._file = path.open("a", encoding="utf-8")
        if text and not text.endswith("\n"):
            self._file.write("\n")

    def get(self, request: ModelRequest) -> Reply | None:
        """The kept reply to a request; None if there is none."""
        return self._by_key.get(self._key(request))

    def keep(self, request: ModelRequest, reply: Reply) -> None:
        key = self._key(request)
        self._by_key[key] = reply
        line = {"key": key, **asdict(reply)}
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _key(self, request: ModelRequest) -> str:
        turns = [[message.role, message.content] for message in request.messages]
        return digest(json.dumps([self._model, turns], ensure_ascii=False))
