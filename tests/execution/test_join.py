from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeper.errors import RunError
from sweeper.execution.claims import lease_of
from sweeper.execution.join import join
from sweeper.search.storage import default_url, open_storage
from sweeper.search.study import BACKEND, RUN, create_study

JOIN = (
    "import sys; from sweeper.execution.join import join; "
    "sys.exit(join(sys.argv[1], worker='guest', tell=lambda event: None))"
)


def test_a_worker_from_another_shell_joins_and_ends_with_the_study(
    commands, assert_whole: Callable[[int], None]
) -> None:
    popen = commands.start(12, 1, CURVE_STEP_SECONDS="0.02", CURVE_QUICK="1")
    commands.wait_for(lambda: commands.lines("trained.log"))
    guest = subprocess.Popen([sys.executable, "-c", JOIN, default_url(commands.run.study)])
    _, errors = popen.communicate(timeout=60)
    assert popen.returncode == 0, errors
    assert guest.wait(timeout=10) == 0
    assert_whole(12)
    owners = {lease_of(trial).owner.split("/")[1] for trial in commands.trials()}
    assert str(guest.pid) in owners
    assert len(owners) == 2


def test_a_folder_that_cannot_be_seen_or_a_storage_without_one_run_is_refused(
    tmp_path: Path,
) -> None:
    url = f"journal:{tmp_path}/s.log"
    with pytest.raises(RunError, match="the storage holds 0 runs"):
        join(url, worker="0", tell=lambda event: None)
    study = create_study(open_storage(url), "s")
    study.set_user_attr(RUN, "/nowhere/s")
    study.set_user_attr(BACKEND, "x:y")
    with pytest.raises(RunError, match="cannot be seen from this machine"):
        join(url, worker="0", tell=lambda event: None)
