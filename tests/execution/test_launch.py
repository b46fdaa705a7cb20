from __future__ import annotations

import sys
from pathlib import Path

import pytest
from curve_backend import make_plan, make_spec

from sweeper.errors import RunError
from sweeper.execution.launch import workers_for
from sweeper.execution.pool import Pool
from sweeper.runfolder import RunFolder


def test_memory_decides_how_many_local_workers_start(tmp_path: Path) -> None:
    plan = make_plan()  # two GiB a trial, eight in all
    pool, note = workers_for(RunFolder(tmp_path), make_spec(workers=9), plan, "sqlite:///x", "m:f")
    assert isinstance(pool, Pool)
    assert (pool.size, len(pool.placed)) == (4, 4)
    assert note.startswith("4 workers instead of 9: a lora trial may need 2.0 GiB")


def test_an_unknown_executor_and_a_missing_ray_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RunError, match="no executor 'rya'") as caught:
        workers_for(RunFolder(tmp_path), make_spec(executor="rya"), make_plan(), "sqlite:", "m:f")
    assert "ray" in str(caught.value)
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "sweeper.execution.ray_pool", raising=False)
    with pytest.raises(RunError, match=r"pip install 'sweeper\[ray\]'"):
        workers_for(RunFolder(tmp_path), make_spec(executor="ray"), make_plan(), "sqlite:", "m:f")
