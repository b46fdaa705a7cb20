"""The folder of a Ray session, with its logs and sockets, is closed to other users."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install 'finetune-sweeper[ray]'")

ASK = """
import ray
from ray._private import worker
from sweeper.features.ray import _cluster

_cluster.join(None)
print(worker.global_worker.node.get_session_dir_path())
print(ray.get(ray.remote(lambda: 7).remote(), timeout=600))
ray.shutdown()
"""


@pytest.mark.slow
def test_other_users_cannot_enter_the_folder_of_a_session():
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-c", ASK], capture_output=True, text=True, env=environment, timeout=600
    )
    folder, answer = done.stdout.split()
    assert answer == "7"
    assert stat.S_IMODE(Path(folder).stat().st_mode) == 0o700
