"""The flag ``--storage``, and where its password goes."""

from __future__ import annotations

from pathlib import Path

from sweeper.features import parts
from sweeper.features.storage.options import Options
from sweeper.specfile import FLAGS, resolve, to_yaml

PATH = ("features", "storage", "url")
REQUEST = {"task": "code", "models": ["7B"], "data": {"examples": 100}}


def test_the_password_is_neither_written_nor_sent_to_workers(tmp_path: Path) -> None:
    assert FLAGS[PATH] == "--storage"
    spec = resolve({PATH: "postgresql+psycopg://ann:p4ss@db/x"}, dict(REQUEST))
    assert spec.features.of(Options).url == "postgresql+psycopg://ann:p4ss@db/x"
    file = tmp_path / "sweep.yaml"
    file.write_text(to_yaml(spec))
    assert "p4ss" not in file.read_text()
    assert resolve({}, file).features.of(Options).url == "postgresql+psycopg://ann@db/x"
    assert "p4ss" not in parts.without_passwords(spec).model_dump_json()
