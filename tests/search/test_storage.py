from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from sweeper.errors import RunError
from sweeper.search.storage import default_url, open_storage
from sweeper.search.study import create_study, load_study


@pytest.mark.parametrize("template", ["sqlite:///{}/s.db", "journal:{}/sub/s.log"])
def test_what_one_process_writes_another_reads(template: str, tmp_path: Path) -> None:
    url = template.format(tmp_path)
    study = create_study(open_storage(url), "s")
    study.enqueue_trial({"x": 1})
    assert len(load_study(open_storage(url), "s").trials) == 1
    create_study(open_storage(url), "s")
    assert len(load_study(open_storage(url), "s").trials) == 1


def test_a_run_opens_in_plain_optuna(tmp_path: Path) -> None:
    url = default_url(tmp_path / "study.db")
    create_study(open_storage(url), "s").enqueue_trial({"x": 1})
    assert len(optuna.load_study(study_name="s", storage=url).trials) == 1


def test_a_half_written_line_in_a_journal_is_cut_off_by_the_next_writer(tmp_path: Path) -> None:
    url = f"journal:{tmp_path}/s.log"
    study = create_study(open_storage(url), "s")
    study.enqueue_trial({"x": 1})
    with (tmp_path / "s.log").open("a") as file:
        file.write('{"op_code": 4, "worker')
    study.enqueue_trial({"x": 2})
    assert len(load_study(open_storage(url), "s").trials) == 2


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("sqlite:///:memory:", "an SQLite storage needs a file"),
        ("grpc://localhost:1", "cannot open the storage grpc://localhost:1"),
        ("nonsense", "cannot open the storage nonsense"),
        ("postgresql+nodriver://me:secret@host/db", "postgresql+nodriver://me:***@host/db"),
        ("journal:/proc/nowhere/s.log", "cannot open the storage"),
    ],
)
def test_a_storage_that_cannot_be_opened_says_what_would_work(
    url: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeper.search.storage.GRPC_TIMEOUT_SECONDS", 1)
    with pytest.raises(RunError) as caught:
        open_storage(url)
    assert text in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "journal:PATH" in str(caught.value)


def test_an_unknown_study_names_those_that_are_there(tmp_path: Path) -> None:
    storage = open_storage(f"journal:{tmp_path}/s.log")
    create_study(storage, "mine")
    with pytest.raises(RunError, match="It holds: mine"):
        load_study(storage, "other")
