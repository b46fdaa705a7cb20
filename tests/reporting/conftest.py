import make_run as maker
import pytest
from page_browser import browser  # noqa: F401 - a fixture
from page_tree import parse

from sweeper.reporting.compose import report_of
from sweeper.reporting.write import write_report
from sweeper.traits.traits import known_strategies

FIRST = ("lora", "full", "head")
HOSTILE = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}\u2028&amp;"
# Every row of the table of empty states, and what else a page must survive.
SHAPES = {
    "zero": {"trials": 0, "phase": "search", "held": True, "seal": False},
    "one": {"trials": 1, "prune": False},
    "all-failed": {
        "trials": 4,
        "ends": dict.fromkeys(range(4), "FAIL"),
        "kinds": dict.fromkeys(range(3), "out-of-memory"),
    },
    "none-pruned": {"trials": 9, "prune": False},
    "not-finite": {"trials": 12, "ends": {3: "COMPLETE"}, "losses": {3: float("nan")}},
    "constant": {"trials": 8, "constant": True, "prune": False, "strategies": ("lora",)},
    "running": {
        "trials": 13,
        "asked": 20,
        "phase": "search",
        "held": True,
        "seal": False,
        "seeds": 1,
        "ends": {12: "RUNNING"},
    },
    "mixed": {
        "trials": 24,
        "strategies": FIRST + tuple(name for name in known_strategies() if name not in FIRST),
        "ends": {4: "FAIL", 11: "FAIL"},
        "kinds": {11: "out-of-memory"},
        "device": "cuda",
        "test_items": 600,
        "validation_items": 400,
        "probe_loss": 0.5,
        "parts": 0.5,
    },
    "text": {
        "trials": 10,
        "task": "instruction",
        "strategies": ("lora", "full"),
        "model": "packaged:smollm2",
    },
    "two-hundred": {
        "trials": 200,
        "strategies": (*FIRST, "adapter", "prefix"),
        "ends": {31: "FAIL", 77: "FAIL"},
        "parts": 0.5,
        "test_items": 400,
    },
    "hostile": {"hostile": HOSTILE},
    "unseen": {"hostile": "a\u202eb\x1b[31mc\u2066d\u200be\x9bf", "prune": False},
}


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    """Intervals of a quarter of the resamples: half of the time that findings take."""
    monkeypatch.setattr("sweeper.evaluation.significance.RESAMPLES", 1000)


@pytest.fixture
def make(tmp_path):
    """Writes a run folder: ``make(trials=20, ...)`` with the fields of ``make_run.Shape``."""

    def write(**changes):
        return maker.make_run(tmp_path, maker.Shape(), **changes)

    return write


@pytest.fixture(scope="session")
def reports(tmp_path_factory):
    """The run folders of all shapes with their reports, written once: name to RunFolder."""
    root = tmp_path_factory.mktemp("shapes") / "runs"
    found = {}
    for name, shape in SHAPES.items():
        run = maker.make_run(root, maker.Shape(name=name, weights=True), **shape)
        write_report(run, report_of(run))
        found[name] = run
    return found


@pytest.fixture(scope="session")
def pages(reports):
    """The pages of all shapes as trees."""
    return {name: parse(run.report_html.read_text()) for name, run in reports.items()}


@pytest.fixture
def read():
    """The tree of a run's page."""
    return lambda run: parse(run.report_html.read_text())


@pytest.fixture
def report(make):
    """The document of a run with these fields of ``make_run.Shape``."""

    def build(**changes):
        return report_of(make(**changes))

    return build


@pytest.fixture(scope="session")
def large(tmp_path_factory):
    """500 trials x 50 points."""
    run = maker.make_run(
        tmp_path_factory.mktemp("large"),
        maker.Shape(name="large"),
        trials=500,
        rungs=50,
        prune=False,
        strategies=("lora", "full", "head", "adapter"),
        ends={7: "FAIL", 11: "PRUNED", 13: "PRUNED"},
    )
    write_report(run, report_of(run))
    return run
