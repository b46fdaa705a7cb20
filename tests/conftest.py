"""What every test may rely on: a stated machine, no hub, its own cache folder, real data sets."""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

# Before huggingface_hub is imported, which reads this once.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Before torch is imported, and for processes that tests start: no test uses a GPU of this machine.
os.environ["CUDA_VISIBLE_DEVICES"] = ""
# As in the processes of sweeper (``torch_settings``): bitsandbytes would load torch's compiler.
os.environ["TORCHDYNAMO_DISABLE"] = "1"

from huggingface_hub import constants
from hypothesis import settings

from sweeper.facts.machine import hardware, measured
from sweeper.facts.record import ModelFacts
from sweeper.runfolder import RunFolder

# What is imported and collected stays; ``_cheap_garbage_collection`` ends this before the tests.
gc.disable()
# A time limit for one example would fail on a busy machine; the same examples every time.
settings.register_profile("sweeper", deadline=None, derandomize=True)
settings.load_profile("sweeper")


@pytest.fixture(scope="session", autouse=True)
def _cheap_garbage_collection() -> Iterator[None]:
    """Collections leave out what was imported and collected, as in a worker: a million objects.

    A backend that closes ends that, and each collection that training asks for took half a second.
    """
    gc.set_threshold(50_000)  # with 700 objects, collections take a twentieth of the time
    gc.enable()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "unfreeze", lambda: None)
        yield


@pytest.fixture(scope="module", autouse=True)
def _later_collections_leave_out_what_exists(_cheap_garbage_collection: None) -> None:
    """What earlier files imported would make each collection take a fifth of a second."""
    gc.collect()
    gc.freeze()


# With speeds, so that no run measures the real machine.
MACHINE = measured.Calibration(
    processor="a processor",
    cores=2,
    versions=measured.versions(),
    fp32_gflops=100.0,
    bandwidth_gb_per_second=10.0,
    when="2026-01-31",
)
STATED: dict[str, Callable[[], object]] = {
    "_cpuinfo": lambda: {"model name": MACHINE.processor},
    "_cores": lambda: MACHINE.cores,
    "_memory": lambda: 64 << 30,
}
DETECTED = {name: getattr(hardware, name) for name in STATED}


@pytest.fixture(scope="session", autouse=True)
def _stated_machine() -> Iterator[None]:
    """Plans of this process are for one and the same machine, wherever the tests run."""
    with pytest.MonkeyPatch.context() as patch:
        for name, stated in STATED.items():
            patch.setattr(hardware, name, stated)
        yield


@pytest.fixture
def real_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of the detection, and of processes that detect the same machine."""
    for name, detect in DETECTED.items():
        monkeypatch.setattr(hardware, name, detect)


@pytest.fixture(scope="session")
def _session_home(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    home = tmp_path_factory.mktemp("sweeper-home")
    # All runs share the interpreter of the sandbox, as the cache folder of a user would keep it:
    # compiling takes 30 s.
    if pytestconfig.pluginmanager.has_plugin("cacheprovider"):
        (home / "sandbox").symlink_to(pytestconfig.cache.mkdir("sandbox"))
    return home


@pytest.fixture(autouse=True)
def sweeper_home(_session_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder of this test run; ``SWEEPER_TEST_HOME`` names one that outlives it."""
    home = Path(os.environ.get("SWEEPER_TEST_HOME", _session_home))
    monkeypatch.setenv("SWEEPER_HOME", str(home))
    # Scores of many earlier tests would widen the intervals of later plans.
    shutil.rmtree(home / "ledger", ignore_errors=True)
    if not measured.calibration_path(MACHINE.processor, MACHINE.cores).exists():
        measured.store_calibration(MACHINE)
    return home


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No real hub is reached, and no real cache of it."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """``endpoint(url)`` does what HF_ENDPOINT does for a new process."""

    def set_to(url: str) -> None:
        monkeypatch.setattr(constants, "ENDPOINT", url)
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)

    return set_to


@pytest.fixture
def hub_of(
    no_hub: None, monkeypatch: pytest.MonkeyPatch, endpoint: Callable[[str], None]
) -> Iterator[Callable[[type[BaseHTTPRequestHandler]], None]]:
    """``hub_of(handler)`` starts a hub of our own, and lets the client use it."""
    with ExitStack() as open_servers:

        def start(handler: type[BaseHTTPRequestHandler]) -> None:
            server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            for end in (server.server_close, thread.join, server.shutdown):
                open_servers.callback(end)
            monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
            endpoint(f"http://127.0.0.1:{server.server_port}")
            monkeypatch.setenv("no_proxy", "127.0.0.1")

        yield start


_POPEN = subprocess.Popen


@pytest.fixture(scope="session")
def _preloaded_popen() -> Iterator[type[subprocess.Popen[Any]]]:
    if sys.platform != "linux":  # its copies need prctl
        yield subprocess.Popen
        return
    from preloaded import preloaded_popen

    with preloaded_popen() as popen:
        yield popen


@pytest.fixture(scope="module")
def preloaded(_preloaded_popen: type[subprocess.Popen[Any]]) -> Iterator[None]:
    """Processes that the tests of a module start have loaded torch: each takes 5 s of CPU less."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", _preloaded_popen)
        yield


@pytest.fixture
def new_processes(preloaded: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a test in such a module whose processes are started as usual."""
    monkeypatch.setattr(subprocess, "Popen", _POPEN)


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
    "test_browser",  # with all that looks at the same pages
    "test_pool",
    "test_interrupts",
    "test_plugin",
    "test_checkpointing",
    "test_report_maker",
    "test_notebook",
    "test_many_kills",
    "test_bad_night",
    "test_deleted",
    "test_dry_run",
    "test_gpu",
    "test_fake_tensors",
    "test_model_choice",
    "test_data_files",
    "test_report_beside",
    "test_evaluate",
    "test_training",
    "test_stage",
    "test_ranks",
    "test_statements",
    "test_api",
    "test_outputs",
    "test_study_file",
    "test_reload",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order by how long a file takes, else as they were found."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))


# Folders whose tests share what takes long to make: pages, and the compiled sandbox.
TOGETHER = ("tests/reporting/", "tests/features/generated_code/")

# Files that mostly wait for processes that they have started. A third process runs them while two
# keep both cores busy, and ends after them. All processes together took up to 7.7 GiB.
WAITING = (
    "test_pool",
    "test_bad_night",
    "test_many_kills",
    "test_interrupts",
    "test_notebook",
    "test_docs",
    "test_report_maker",
    "test_wheel",
    "test_local_pool",
    "test_job",
    "test_child_process",
    "test_link",
    "test_clients",
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """As ``--dist loadfile``, but files that share what is costly stay together.

    The last of three processes gets the files of ``WAITING``, and ends when there are no more.
    """
    from xdist.scheduler import LoadFileScheduling

    class LoadTogether(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            folders = (folder for folder in TOGETHER if nodeid.startswith(folder))
            return next(folders, super()._split_scope(nodeid))

        def _only_waits(self, node: Any) -> bool:
            return self.numnodes > 2 and node.gateway.id == f"gw{self.numnodes - 1}"

        def _next_file(self, *, waiting: bool) -> str | None:
            names = (name for name in self.workqueue if (Path(name).stem in WAITING) == waiting)
            return next(names, None)

        def _assign_work_unit(self, node: Any) -> None:
            if name := self._next_file(waiting=self._only_waits(node)):
                self.workqueue.move_to_end(name, last=False)
            super()._assign_work_unit(node)

        def _reschedule(self, node: Any) -> None:
            if self._only_waits(node) and not self._next_file(waiting=True):
                node.shutdown()
            super()._reschedule(node)

    return LoadTogether(config, log) if config.getvalue("dist") == "loadfile" else None


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


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@dataclass(frozen=True)
class Ran:
    """How one command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def sweeper(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Ran]:
    """Run ``sweeper ARGS...`` and get exit code and both streams."""

    def run(*arguments: str) -> Ran:
        from sweeper.cli.main import main  # most tests do without

        monkeypatch.setattr(sys, "argv", ["sweeper", *arguments])
        capsys.readouterr()
        try:
            main()
            code: object = 0
        except SystemExit as ended:
            code = ended.code
        streams = capsys.readouterr()
        return Ran(code if isinstance(code, int) else int(code is not None), *streams)

    return run


@pytest.fixture
def without_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands write their report in this process and without charts, which take seconds."""
    from sweeper.processes.report_maker import ReportMaker

    def finish(maker: ReportMaker, *_args: object, **_options: object) -> object:
        findings = maker._make_in_this_process()
        maker.no_charts = ""
        return findings

    monkeypatch.setattr(ReportMaker, "finish", finish)


@pytest.fixture
def rows(here: Path) -> Path:
    """A small classification file: three classes by topic, every text different."""
    words = {"fruit": "apple pear plum", "metal": "iron zinc gold", "river": "nile rhine po"}
    path = here / "rows.jsonl"
    with path.open("w") as file:
        for label, names in words.items():
            for number in range(30):
                name = names.split()[number % 3]
                text = f"what do you know about {name} number {number}"
                file.write(json.dumps({"text": text, "label": label}) + "\n")
    return path


@pytest.fixture
def make_run(here: Path) -> Callable[..., RunFolder]:
    """Write a run below ``runs`` as a sweep would leave it, with the fields of ``Shape``."""
    import make_run as maker

    def write(**changes: object) -> RunFolder:
        made: RunFolder = maker.make_run(here / "runs", maker.Shape(), **changes)
        return RunFolder(made.path.relative_to(here))

    return write
