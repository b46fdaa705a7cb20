"""A hub of our own, so that what is said about hubs is tested without a network."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler

import pytest

CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
}
COMMIT = "abc123" + "0" * 34
REPOSITORY = {
    "config.json": json.dumps(CONFIG),
    "model.safetensors": "weights",
    "pytorch_model.bin": "pickle",
    "modelling.py": "code",
    "tokenizer.json": "{}",
}


class Hub(BaseHTTPRequestHandler):
    """A small honest hub: one whole model, one without safe weights, every way of refusing."""

    commit = COMMIT
    weights = REPOSITORY["model.safetensors"]
    asked: list[tuple[str, str | None]]

    def do_GET(self):
        self.asked.append((self.path, self.headers.get("Authorization")))
        owner, name = self.path.removeprefix("/api/models").split("/")[1:3]
        status, code = {
            "acme": (200, None),
            "text": (200, None),
            "gated": (403, "GatedRepo"),
            "private": (401, None),
            "old": (404, "RevisionNotFound"),
            "dataset": (404, "EntryNotFound"),
            "broken": (503, None),
        }.get(owner, (404, "RepoNotFound"))
        content = b'"text"' if owner == "text" else b"{}"
        if owner == "acme":
            content = self.content(name).encode()
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hash(content)}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def do_HEAD(self):
        self.do_GET()

    def content(self, name):
        files = REPOSITORY | {"model.safetensors": self.weights}
        files = {n: c for n, c in files.items() if name == "tiny" or "safe" not in n}
        if "/tree/" in self.path:
            return json.dumps(
                [{"type": "file", "oid": n, "size": len(c), "path": n} for n, c in files.items()]
            )
        if self.path.startswith("/api/"):
            siblings = [{"rfilename": name} for name in files]
            return json.dumps({"id": name, "sha": COMMIT, "siblings": siblings})
        return files[self.path.rsplit("/", 1)[-1]]

    def log_message(self, *_):
        pass


@pytest.fixture(autouse=True)
def _no_hub(no_hub):
    """No test of this folder reaches a real hub."""


@pytest.fixture
def hub(hub_of):
    Hub.asked = []
    hub_of(Hub)
    return Hub
