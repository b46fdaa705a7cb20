"""The hub gets one commit with the whole folder, in a private repository, and only when asked."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from huggingface_hub import constants

from sweeper.errors import UsageError
from sweeper.features.exporting._weights import check_repo, hub_card, upload_folder

WEIGHTS = b"\0\1weights" * 100
README = "---\nlicense: mit\n---\n# A model trained by sweeper\n\nHow to load it.\n"


class Hub(BaseHTTPRequestHandler):
    """What huggingface_hub asks to create a repository and to commit to it, and no more."""

    protocol_version = "HTTP/1.1"
    status = 200

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.tokens.add(self.headers.get("Authorization"))
        if self.status != 200:
            return self.answer({"error": "no"}, self.status)
        if self.path == "/api/repos/create":
            self.server.created.append(json.loads(body))
            return self.answer({"url": f"{self.server.address}/acme/winner"})
        if self.path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if "/preupload/" in self.path:
            files = json.loads(body)["files"]
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for file in files
            ]
            return self.answer({"files": modes})
        if self.path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**one, "actions": {"upload": {"href": f"{self.server.address}/put/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            return self.answer({"transfer": "basic", "objects": objects})
        assert "/commit/" in self.path, self.path
        self.server.commits.append([json.loads(line) for line in body.splitlines()])
        return self.answer(
            {"commitUrl": f"{self.server.address}/acme/winner/commit/0", "commitOid": "0" * 40}
        )

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.stored[self.path.rsplit("/", 1)[-1]] = body
        self.answer({})

    def do_GET(self):
        self.answer({"id": "acme/winner", "sha": "0" * 40, "siblings": []})

    def answer(self, fields, status=200):
        body = json.dumps(fields).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.address = f"http://127.0.0.1:{server.server_port}"
    server.tokens, server.created, server.commits, server.stored = set(), [], [], {}
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "README.md").write_text(README)
    (tmp_path / "model.safetensors").write_bytes(WEIGHTS)
    return tmp_path


@pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")  # huggingface_hub's own
def test_the_folder_becomes_one_commit_in_a_private_repository(hub, folder):
    address = upload_folder(folder, "acme/winner", private=True)
    assert address.endswith("acme/winner")
    (made,) = hub.created
    assert (made["name"], made["organization"]) == ("winner", "acme")
    assert made.get("private") is True or made["visibility"] == "private"
    (commit,) = hub.commits
    files = {line["value"]["path"]: line["key"] for line in commit if line["key"] != "header"}
    assert files == {"README.md": "file", "model.safetensors": "lfsFile"}
    assert hub.stored == {hashlib.sha256(WEIGHTS).hexdigest(): WEIGHTS}
    assert "Bearer hf_secret" in hub.tokens


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_refusal_says_what_to_do(hub, folder, monkeypatch, status):
    monkeypatch.setattr(Hub, "status", status)
    with pytest.raises(UsageError, match=str(status)) as refused:
        upload_folder(folder, "acme/winner", private=True)
    assert "HF_TOKEN" in refused.value.problems[0].fix
    assert "hf_secret" not in str(refused.value)


def test_a_hub_that_is_not_there_is_a_message(hub, folder, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UsageError):
        upload_folder(folder, "acme/winner", private=True)


@pytest.mark.parametrize("repo", ["winner", "a/b/c", "acme/", "../x", "acme/a b"])
def test_a_name_without_an_owner_is_refused(repo):
    with pytest.raises(UsageError):
        check_repo(repo)


def test_the_card_names_licence_base_and_library(tiny_facts):
    facts = tiny_facts("acme/base", source="hub", license="apache-2.0")
    draft = "# run: draft of a model card\n\n## Results\n\n- Test accuracy: 91%\n"
    text = hub_card(README, draft, facts, "classification", "sweeper", None)
    front = yaml.safe_load(text.split("---\n")[1])
    assert front == {
        "license": "apache-2.0",
        "library_name": "sweeper",
        "pipeline_tag": "text-classification",
        "tags": ["sweeper"],
        "base_model": "acme/base",
        "base_model_relation": "finetune",
    }
    assert "How to load it." in text
    assert "- Test accuracy: 91%" in text
    assert "draft" not in text


def test_an_unknown_licence_is_refused_unless_it_is_named(tiny_facts):
    facts = tiny_facts("acme/base", source="hub")
    with pytest.raises(UsageError, match="acme/base"):
        hub_card(README, "", facts, "instruction", "peft", None)
    assert 'license: "mit"' in hub_card(README, "", facts, "instruction", "peft", "mit")
