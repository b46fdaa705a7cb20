from __future__ import annotations

import time

import pytest
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState

from sweeper.search import storage as storages
from sweeper.search.exclusion import LOCK_PREFIX, proxy_section
from sweeper.search.storage import Storage, open_storage
from sweeper.search.study import create_study


def waiting_trial(storage: Storage) -> int:
    study = create_study(storage, "s")
    study.enqueue_trial({"x": 1})
    return study.get_trials(deepcopy=False)[0]._trial_id


def test_one_is_in_at_a_time_and_who_does_not_wait_is_told(any_storage: str) -> None:
    storage = open_storage(any_storage)
    trial = waiting_trial(storage)
    with storage.exclusive(trial) as alone:
        assert alone
        storage.optuna.set_trial_system_attr(trial, "a", 1)
        if not any_storage.startswith(("sqlite", "journal")):  # files' sections wait
            with open_storage(any_storage).exclusive(trial, wait=False) as second:
                assert not second
    with open_storage(any_storage).exclusive(trial, wait=False) as later:
        assert later
    assert open_storage(any_storage).optuna.get_trial(trial).system_attrs["a"] == 1


def test_on_sql_a_section_that_breaks_off_has_done_nothing(postgresql_url: str) -> None:
    storage = open_storage(postgresql_url)
    trial = waiting_trial(storage)

    def half() -> None:
        with storage.exclusive(trial):
            assert storage.optuna.set_trial_state_values(trial, TrialState.RUNNING)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert open_storage(postgresql_url).optuna.get_trial(trial).state == TrialState.WAITING
    with storage.exclusive(trial):  # and the next section is whole
        assert storage.optuna.set_trial_state_values(trial, TrialState.RUNNING)
    assert open_storage(postgresql_url).optuna.get_trial(trial).state == TrialState.RUNNING


def test_on_sql_one_who_was_stopped_in_a_section_blocks_nobody_and_writes_nothing(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storages, "SECTION_SECONDS", 1.0)
    stopped, other = open_storage(postgresql_url), open_storage(postgresql_url)
    trial = waiting_trial(stopped)

    def sleep_through_it() -> None:
        with stopped.exclusive(trial):
            time.sleep(2.0)
            with other.exclusive(trial, wait=False) as alone:
                assert alone
                other.optuna.set_trial_system_attr(trial, "lease", "other")
            stopped.optuna.set_trial_system_attr(trial, "lease", "stopped")

    with pytest.raises(StorageInternalError):
        sleep_through_it()
    assert other.optuna.get_trial(trial).system_attrs["lease"] == "other"


def test_on_a_proxy_a_section_that_was_left_open_is_broken_open(grpc_url: str) -> None:
    storage, killed = open_storage(grpc_url), open_storage(grpc_url)
    trial = waiting_trial(storage)
    left = killed.exclusive(trial)
    assert left.__enter__()
    exclusive = proxy_section(storage.optuna, patience=0.2)  # type: ignore[arg-type]
    with exclusive(trial, wait=False) as alone:
        assert not alone
    with exclusive(trial) as alone:
        assert alone
    left.__exit__(None, None, None)  # one who was taken for dead leaves quietly
    names = [study.study_name for study in storage.optuna.get_all_studies()]
    assert names == ["s"]


def test_on_a_proxy_two_sections_that_were_seen_far_apart_are_not_taken_for_one(
    grpc_url: str,
) -> None:
    """Behind the proxy is SQLite, which gives both of them the same number."""
    storage, busy = open_storage(grpc_url), open_storage(grpc_url)
    trial = waiting_trial(storage)
    exclusive = proxy_section(storage.optuna, patience=0.2)  # type: ignore[arg-type]
    for _ in range(3):
        with busy.exclusive(trial), exclusive(trial, wait=False) as alone:
            assert not alone
        time.sleep(0.3)
    with busy.exclusive(trial), exclusive(trial, wait=False) as alone:
        assert not alone
        names = [study.study_name for study in storage.optuna.get_all_studies()]
        assert f"{LOCK_PREFIX}{trial}" in names
