"""Files of questions, requests and answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def write(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def chat_row(question: str, answer: str) -> Row:
    turns = (("user", question), ("assistant", answer))
    return {"messages": [{"role": role, "content": text} for role, text in turns]}


def batch_line(request: Row, answer: str | None) -> Row:
    """A line that the Batch API gives for a request; a failed one without an answer."""
    message = {"role": "assistant", "content": answer}
    body = {"choices": [{"message": message}]} if answer is not None else {"error": "overloaded"}
    return {"custom_id": request["custom_id"], "response": {"status_code": 200, "body": body}}
