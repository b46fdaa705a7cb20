"""A server that behaves like a real OpenAI-compatible one, by a script of its answers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behaviour = Callable[["Handler", str], None]
"""Answers one request, given the text of its last message."""

_SYNONYMS = {
    "play": "put on",
    "add": "include",
    "book": "reserve",
    "find": "look up",
    "want": "would like",
    "need": "require",
    "my": "our",
    "what": "which",
    "please": "kindly",
    "show": "display",
    "card": "bank card",
    "money": "funds",
    "how": "in which way",
    "will": "is it going to",
    "the": "that",
    "a": "one",
    "for": "on behalf of",
    "i": "we",
    "is": "appears",
    "to": "towards",
}


def by_rules(text: str) -> str:
    """Other words in another order."""
    words = [_SYNONYMS.get(word.lower(), word) for word in text.split()]
    half = len(words) // 2
    return "could you " + " ".join([*words[half:], "and", *words[:half]])


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Any

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        shared: FakeServer = self.server.shared
        with shared.lock:
            shared.bodies.append(body)
            shared.headers.append({name.lower(): v for name, v in self.headers.items()})
            shared.times.append(time.monotonic())
            behave = shared.script.pop(0) if shared.script else shared.usual
        behave(self, body["messages"][-1]["content"])

    def answer(self, status: int, payload: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", headers.pop("content_type", "application/json"))
        self.send_header("Content-Length", headers.pop("length", str(len(payload))))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(payload)

    def say(self, text: str, finish: str = "stop") -> None:
        message = {"role": "assistant", "content": text}
        said = {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": "fake",
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": {"prompt_tokens": 40, "completion_tokens": 10, "total_tokens": 50},
        }
        self.answer(200, json.dumps(said).encode())

    def log_message(self, *_: object) -> None:
        return


def says(make: Callable[[str], str], finish: str = "stop") -> Behaviour:
    return lambda handler, text: handler.say(make(text), finish)


def fails(status: int, **headers: str) -> Behaviour:
    error = json.dumps({"error": {"message": f"status {status}"}}).encode()
    return lambda handler, _: handler.answer(status, error, **headers)


def sends(payload: bytes, content_type: str = "application/json") -> Behaviour:
    return lambda handler, _: handler.answer(200, payload, content_type=content_type)


def cut_off(handler: Handler, _: str) -> None:
    """Promises more than it sends."""
    handler.answer(200, b'{"choices": [{"mess', length="5000")
    handler.close_connection = True


def waits_for_another(handler: Handler, text: str) -> None:
    """No answer before the client asks again."""
    bodies = handler.server.shared.bodies
    before = len(bodies)
    while len(bodies) == before:
        time.sleep(0.01)
    handler.say(by_rules(text))


@dataclass
class FakeServer:
    """Runs in a thread while it is entered."""

    usual: Behaviour = field(default_factory=lambda: says(by_rules))
    script: list[Behaviour] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> FakeServer:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._http.handle_error = lambda *_: None  # a client that hangs up
        self._http.shared = self
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/v1"


if __name__ == "__main__":
    with FakeServer() as running:
        print(running.url, flush=True)
        threading.Event().wait()


TOPICS = {
    "fruit": ("apple", "pear", "plum", "cherry"),
    "metal": ("iron", "zinc", "gold", "copper"),
}
PLACES = ("market", "harbour", "village", "museum", "school", "garden", "station", "theatre")


def rows(count=80):
    """Short questions of two classes, no two of them alike."""
    found = []
    for number in range(count):
        label = sorted(TOPICS)[number % 2]
        word = TOPICS[label][number // 2 % 4]
        place, other = PLACES[number % 8], PLACES[(number // 8 + number) % 8]
        text = f"please tell me what {word} number {number} costs at the {place} or the {other}"
        if number % 5 == 0:
            text += " and whether it is cheaper there on sundays than on all other days of the week"
        found.append({"text": text, "label": label})
    return found
