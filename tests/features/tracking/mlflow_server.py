"""A local server that speaks the part of MLflow's REST API that a tracker uses, and keeps all."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts/"


class Server(ThreadingHTTPServer):
    """``runs`` by id, and ``files`` by path. ``away`` answers everything with 503."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.experiments: list[str] = []
        self.runs: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self.away = False

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def named(self) -> dict[str, dict[str, Any]]:
        names = {run["info"]["run_name"]: run for run in self.runs.values()}
        assert len(names) == len(self.runs)
        return names

    def answer(self, call: str, asked: dict[str, Any]) -> dict[str, Any] | None:
        """What MLflow answers to a call; None where there is no such thing."""
        if call == "experiments/get-by-name":
            if asked["experiment_name"] not in self.experiments:
                return None
            number = str(self.experiments.index(asked["experiment_name"]))
            return {"experiment": {"experiment_id": number, "name": asked["experiment_name"]}}
        if call == "experiments/create":
            self.experiments.append(asked["name"])
            return {"experiment_id": str(len(self.experiments) - 1)}
        if call == "runs/create":
            return {"run": self._created(asked)}
        run = self.runs[asked["run_id"]]
        if call == "runs/update":
            run["info"] |= {key: asked[key] for key in ("status", "end_time") if key in asked}
            return {"run_info": run["info"]}
        if call == "runs/log-batch":
            for kind in ("metrics", "params", "tags"):
                run["data"][kind] += asked.get(kind, [])
            return {}
        assert call == "runs/get", call
        return {"run": run}

    def _created(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = f"{len(self.runs):032x}"
        info = {
            "run_id": name,
            "run_name": asked["run_name"],
            "experiment_id": asked["experiment_id"],
            "status": "RUNNING",
            "artifact_uri": f"mlflow-artifacts:/{name}",
        }
        data: dict[str, Any] = {"metrics": [], "params": [], "tags": asked.get("tags", [])}
        self.runs[name] = {"info": info, "data": data}
        return self.runs[name]


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        place = urlsplit(self.path)
        asked = {key: values[0] for key, values in parse_qs(place.query).items()}
        self._reply(place.path, asked)

    def do_POST(self) -> None:
        self._reply(self.path, json.loads(self._body()))

    def do_PUT(self) -> None:
        self.server.files[self.path.removeprefix(ARTIFACTS)] = self._body()
        self._send(200, {})

    def _reply(self, path: str, asked: dict[str, Any]) -> None:
        if self.server.away:
            return self._send(503, {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "away"})
        found = self.server.answer(path.removeprefix(f"{API}/"), asked)
        if found is None:
            return self._send(404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "none"})
        return self._send(200, found)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        return None


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
