"""Data sets of a hub: which files are read, what is pinned, and every way of refusing."""

import hashlib
import io
import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pytest
from huggingface_hub import constants
from pyarrow import parquet

from sweeper.data.load import load
from sweeper.data.reading.files import split_files, with_commits
from sweeper.errors import DataError
from sweeper.spec import DataSpec, ModelSpec, Spec

ROWS = [{"text": f"text number {n}", "label": "ab"[n % 2]} for n in range(40)]


def table(rows):
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


CARD = b"""---
configs:
- config_name: plain
  data_files:
  - {split: train, path: plain/train-*}
  - {split: test, path: plain/test-*}
- config_name: loud
  data_files: {train: loud/all.jsonl}
---
# A set
"""
REPOSITORIES = {
    "imdb": {
        "data/train-00000-of-00002.parquet": table(ROWS[:20]),
        "data/train-00001-of-00002.parquet": table(ROWS[20:]),
        "data/test-00000-of-00001.parquet": table(ROWS[:10]),
        "data/unsupervised-00000-of-00001.parquet": table(ROWS[:10]),
        "LICENSE": b"free",
    },
    "acme/configured": {
        "README.md": CARD,
        "plain/train-0.jsonl": lines(ROWS),
        "plain/test-0.jsonl": lines(ROWS[:10]),
        "loud/all.jsonl": lines(ROWS),
    },
    "acme/scripted": {"scripted.py": b"boom", "rows.csv": b"a,b\n1,2\n"},
    "acme/scripted@refs/convert/parquet": {
        "default/train/0000.parquet": table(ROWS),
        "default/test/0000.parquet": table(ROWS[:10]),
    },
    "acme/texts": {
        "texts.jsonl": lines([{"text": f"A long text about number {n}."} for n in range(40)])
    },
    "acme/program": {"program.py": b"boom"},
    "acme/pictures": {"a.png": b"png"},
    "acme/chat": {
        "train_sft.jsonl": lines(ROWS),
        "test_sft.jsonl": lines(ROWS[:10]),
        "train_gen.jsonl": lines(ROWS),
    },
}


def commit_of(key):
    return hashlib.sha1(key.encode()).hexdigest()


class Hub(BaseHTTPRequestHandler):
    """The parts of a hub that list and give the files of data sets."""

    asked: list[tuple[str, str | None]]

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        self.asked.append((path, self.headers.get("Authorization")))
        status, code, content, commit = self.answer(path)
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def do_HEAD(self):
        self.do_GET()

    def answer(self, path):
        api = path.startswith("/api/datasets/")
        asked = path.removeprefix("/api").removeprefix("/datasets/")
        for mark in ("/revision/", "/tree/", "/resolve/"):
            name, found, rest = asked.partition(mark)
            if found:
                break
        owner = name.partition("/")[0]
        refused = {"gated": (403, "GatedRepo"), "private": (401, None), "broken": (503, None)}
        if owner in refused:
            return (*refused[owner], b"{}", "")
        if name not in REPOSITORIES:
            return 404, "RepoNotFound", b"{}", ""
        key, file = name, ""
        if found == "/resolve/":
            revision, _, file = rest.partition("/")
        else:
            revision = rest or "main"
        if revision == "refs/convert/parquet":
            key = f"{name}@{revision}"
        elif revision not in ("main", commit_of(name)):
            key = next((k for k in REPOSITORIES if commit_of(k) == revision), "")
        if key not in REPOSITORIES:
            return 404, "RevisionNotFound", b"{}", ""
        files = REPOSITORIES[key]
        if found == "/tree/":
            listed = [
                {"type": "file", "oid": n, "size": len(c), "path": n} for n, c in files.items()
            ]
            return 200, None, json.dumps(listed).encode(), commit_of(key)
        if api:
            siblings = [{"rfilename": one} for one in files]
            info = {"id": name, "sha": commit_of(key), "siblings": siblings}
            return 200, None, json.dumps(info).encode(), commit_of(key)
        return 200, None, files[file], commit_of(key)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(hub_of, monkeypatch, tmp_path):
    Hub.asked = []
    hub_of(Hub)
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return Hub


def names(found):
    return {split: [path.name for path in files] for split, files in found.files.items()}


def pinned(data):
    return with_commits(Spec(task="classification", models=(ModelSpec(id="tiny"),), data=data)).data


def test_a_data_set_is_pinned_read_and_then_needs_no_hub(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    spec = pinned(DataSpec(path="imdb"))
    assert spec.revision == commit_of("imdb")
    # The client may ask the hub for other things, without a token.
    assert {token for path, token in hub.asked if "/imdb" in path} == {"Bearer hf_secret"}
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(hub.asked)
    dataset = load(spec, "classification")
    assert len(hub.asked) == asked
    assert dataset.rows == 50
    assert dataset.origins["test"] == "official"
    assert dataset.evidence[0] == f"commit {commit_of('imdb')[:12]} of the hub's data set imdb"
    assert "not read: 'unsupervised'" in dataset.evidence[1]
    assert load(DataSpec(path="imdb"), "classification").fingerprint == dataset.fingerprint


def test_a_plan_pins_the_commit_in_its_spec_and_facts(hub, sweeper, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    ran = sweeper(
        "plan", "--task", "classification", "--model", "7B", "--gpu-memory", "80",
        "--data", "imdb", "-o", "sweep.yaml", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["facts"]["data"]["revision"] == commit_of("imdb")
    assert f"revision: {commit_of('imdb')}" in Path("sweep.yaml").read_text()
    assert "hf_secret" not in ran.out + Path("sweep.yaml").read_text()


def test_corpus_general_text_and_sources_are_pinned_too(hub, sweeper):
    rows = [{"instruction": f"Say {n}!", "output": f"It is {n}."} for n in range(40)]
    Path("rows.jsonl").write_bytes(lines(rows))
    flags = (
        "plan", "--task", "domain", "--model", "1B", "--gpu-memory", "80",
        "--data", "rows.jsonl", "--corpus", "acme/texts", "--general", "acme/texts", "--json",
    )  # fmt: skip
    ran = sweeper(*flags, "-o", "sweep.yaml")
    assert ran.code == 0, ran.err
    commit = commit_of("acme/texts")
    assert json.loads(ran.out)["facts"]["data"]["commits"] == {"acme/texts": commit}
    written = Path("sweep.yaml").read_text()
    assert f"corpus_revision: {commit}" in written
    assert f"general_revision: {commit}" in written
    two = DataSpec(sources=({"path": "imdb"}, {"path": "rows.jsonl"}))
    assert pinned(two).commits == {"imdb": commit_of("imdb")}


def test_only_what_is_read_is_downloaded(hub):
    pinned(DataSpec(path="imdb"))
    got = {path.rpartition("/")[2] for path, _ in hub.asked if "/resolve/" in path}
    assert got == {
        "train-00000-of-00002.parquet",
        "train-00001-of-00002.parquet",
        "test-00000-of-00001.parquet",
    }


def test_a_configuration_is_asked_for_and_read(hub):
    with pytest.raises(DataError, match="2 configurations: plain, loud") as error:
        split_files(DataSpec(path="acme/configured"))
    assert "--data-name plain" in str(error.value)
    found = split_files(DataSpec(path="acme/configured", name="plain"))
    assert names(found) == {"train": ["train-0.jsonl"], "test": ["test-0.jsonl"]}
    with pytest.raises(DataError, match="'plane'") as error:
        split_files(DataSpec(path="acme/configured", name="plane"))
    assert "plain" in str(error.value)


def test_the_hubs_conversion_takes_the_place_of_a_script(hub):
    spec = pinned(DataSpec(path="acme/scripted"))
    assert spec.revision == commit_of("acme/scripted@refs/convert/parquet")
    found = split_files(spec)
    assert names(found) == {"train": ["0000.parquet"], "test": ["0000.parquet"]}
    assert not any(path.endswith(".py") for path, _ in hub.asked)


def test_a_split_of_another_name_brings_those_of_the_same_ending(hub):
    with pytest.raises(DataError, check=lambda error: error.code == "no-training-data") as error:
        split_files(DataSpec(path="acme/chat"))
    assert "--data-split" in str(error.value)
    found = split_files(DataSpec(path="acme/chat", split="train_sft"))
    assert names(found) == {"train": ["train_sft.jsonl"], "test": ["test_sft.jsonl"]}


@pytest.mark.parametrize(
    ("path", "revision", "said"),
    [
        ("gated/set", None, "its licence must be accepted first"),
        ("gated/set", None, "/datasets/gated/set, then set HF_TOKEN"),
        ("private/set", None, "private, gated, or does not exist"),
        ("nobody/set", None, "the hub has no such data set"),
        ("broken/set", None, "the hub answered 503"),
        ("imdb", "v9", "no revision 'v9'"),
        ("acme/program", None, "(only .py)"),
        ("acme/pictures", None, "no file of rows that can be read (only .png)"),
    ],
)
def test_a_refusal_is_said_in_words(hub, path, revision, said):
    with pytest.raises(DataError) as error:
        split_files(DataSpec(path=path, revision=revision))
    assert said in str(error.value)


def test_without_a_network_the_path_and_the_hub_are_both_named(no_hub, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("reviews").mkdir()
    with pytest.raises(DataError, match=r"\breview\b") as e:
        split_files(DataSpec(path="review"))
    assert "Did you mean 'reviews'?" in str(e.value)
    assert "the hub can be reached" in str(e.value)


def test_the_key_of_a_missing_path_is_named(no_hub, sweeper, tmp_path):
    file = tmp_path / "sweep.yaml"
    file.write_text("task: classification\nmodel: 7B\ndata: tickets\n")
    told = sweeper("plan", str(file))
    assert told.code == 2
    assert f"{file}:3 data.path: tickets: there is no file or folder 'tickets' here" in told.err


def test_a_revision_of_a_file_here_is_refused(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(lines(ROWS))
    with pytest.raises(DataError):
        split_files(DataSpec(path=str(file), revision="main"))


def test_a_file_has_no_configurations(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(lines(ROWS))
    with pytest.raises(DataError):
        split_files(DataSpec(path=str(file), name="main"))
