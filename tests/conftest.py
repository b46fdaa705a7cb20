"""What every test may rely on: no hub, a cache folder of its own, the optional real data sets."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings

from sweeper.facts.record import ModelFacts

# Before any test imports huggingface_hub, which reads this once.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# A time limit for one example would fail on a busy machine; the same examples every time.
settings.register_profile("sweeper", deadline=None, derandomize=True)
settings.load_profile("sweeper")


@pytest.fixture(scope="session")
def _session_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweeper-home")


@pytest.fixture(autouse=True)
def sweeper_home(_session_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder of this test run; ``SWEEPER_TEST_HOME`` names one that outlives it."""
    home = Path(os.environ.get("SWEEPER_TEST_HOME", _session_home))
    monkeypatch.setenv("SWEEPER_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with small real data sets, which is not part of the project."""
    named = os.environ.get("SWEEPER_TEST_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data sets here: set SWEEPER_TEST_DATA to their folder")
    return folder


# The longest first: whoever comes last with a minute of work would keep the other process waiting.
LONGEST = (
    "test_fifty_kills",
    "test_patience",
    "test_ending",
    "test_kills",
    "test_bad_night",
    "test_gpus",
    "test_interrupts",
    "test_warm_start",
    "test_join",
    "test_ray_pool",
    "test_watchdog",
    "test_repair",
    "test_ranks",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order by how long a file takes, else as they were found."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--forbid-skips", action="store_true", help="fail if a test was skipped: nothing may be"
    )


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Where everything is installed, a skipped test is a test that did not run."""
    if not session.config.getoption("--forbid-skips") or hasattr(session.config, "workerinput"):
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if skipped and exitstatus == 0:
        reporter.write_line(f"{len(skipped)} tests were skipped, and none may be here")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def _postgresql_server() -> Iterator[str]:
    pytest.importorskip("psycopg", reason="no PostgreSQL driver: pip install 'sweeper[postgres]'")
    from benchmarks.execution import postgresql  # needs the driver

    folder = postgresql.programs()
    if folder is None:
        pytest.skip("no PostgreSQL server here: install Debian's postgresql, or put initdb on PATH")
    with postgresql.server(folder) as template:
        yield template


@pytest.fixture
def postgresql_url(_postgresql_server: str) -> str:
    """An empty database on a real PostgreSQL server."""
    from benchmarks.execution import postgresql  # needs the driver

    return postgresql.make_database(_postgresql_server, f"t{uuid.uuid4().hex}")


@pytest.fixture(scope="session")
def _grpc_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("grpc", reason="no grpcio: pip install 'sweeper[grpc]'")
    with proxy(f"sqlite:///{tmp_path_factory.mktemp('proxy')}/behind.db") as url:
        yield url


@pytest.fixture
def grpc_url(_grpc_server: str) -> Iterator[str]:
    """Optuna's own storage proxy, in a process of its own, over an SQLite file; empty."""
    yield _grpc_server
    from sweeper.search.storage import open_storage  # loads optuna, which few tests need

    storage = open_storage(_grpc_server).optuna
    for study in storage.get_all_studies():
        storage.delete_study(study._study_id)


@contextmanager
def proxy(url: str) -> Iterator[str]:
    """Optuna's storage proxy over ``url``, just as its documentation starts it."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    code = (
        "import sys, optuna; from optuna.storages import get_storage, run_grpc_proxy_server; "
        "run_grpc_proxy_server(get_storage(sys.argv[1]), port=int(sys.argv[2]))"
    )
    server = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code, url, str(port)])
    try:
        _wait_for_port(port)
        yield f"grpc://localhost:{port}"
    finally:
        server.kill()
        server.wait()


def _wait_for_port(port: int, seconds: float = 60.0) -> None:
    # On a busy machine the server is later than what a client waits for it.
    limit = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("localhost", port), 1.0):
            return
        assert time.monotonic() < limit, "the storage proxy did not start"
        time.sleep(0.05)


@pytest.fixture(params=["sqlite", "journal", "postgresql", "grpc"])
def any_storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh storage of each kind that a run can have."""
    files = {"sqlite": f"sqlite:///{tmp_path}/s.db", "journal": f"journal:{tmp_path}/s.log"}
    return files.get(request.param) or request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def tiny_facts() -> Callable[..., ModelFacts]:
    """Facts of the tiny Llama that tests make on the fly: its id, and what is otherwise."""

    def facts(model: str, **changes: object) -> ModelFacts:
        shape: dict[str, object] = {
            "source": "local",
            "model_type": "llama",
            "kind": "decoder",
            "parameters": 10_000,
            "parameters_exact": False,
            "layers": 2,
            "hidden_size": 32,
            "attention_heads": 4,
            "key_value_heads": 4,
            "head_dim": 8,
            "intermediate_size": 48,
            "vocabulary_size": 264,
            "context_length": 1024,
            "tied_embeddings": False,
            "gated_mlp": True,
        }
        return ModelFacts.model_validate({"id": model} | shape | changes)

    return facts
