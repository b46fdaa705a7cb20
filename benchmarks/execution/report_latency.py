"""How long a report takes, and whether whoever runs the sweep ever waits for it.

python -m benchmarks.execution.report_latency               20, 128 and 500 trials
python -m benchmarks.execution.report_latency --trials 50

For each size it prints what computing findings and writing the report take (the second time in one
process, as in a sweep), and then the gaps of a loop that polls every millisecond while the report
process makes that report. Exits with 1 if the 99th percentile of the gaps is over 100 ms.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
from pathlib import Path

from sweeper.processes.report_maker import ReportMaker
from sweeper.reporting.compose import report_of
from sweeper.reporting.write import write_report
from sweeper.runfolder import RunFolder

TESTS = Path(__file__).parents[2] / "tests" / "reporting"
SIZES = (20, 128, 500)
STRATEGIES = ("lora", "full", "head", "adapter")
MOST_MS = 100.0
_TICK_SECONDS = 0.001
_HEADER = "trials  compute s  write s  in the loop: reports  p50 ms  p99 ms  max ms"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.execution.report_latency")
    parser.add_argument("--trials", type=int, action="append", help="May be given repeatedly.")
    chosen = parser.parse_args()
    worst = 0.0
    print(_HEADER)
    with tempfile.TemporaryDirectory() as folder:
        for trials in chosen.trials or SIZES:
            run = make_run(Path(folder), trials)
            computing, writing = taken(run)
            reports, found = gaps(run)
            p50, p99 = (1000 * found[int(share * len(found))] for share in (0.5, 0.99))
            worst = max(worst, p99)
            print(
                f"{trials:6}  {computing:9.2f}  {writing:7.2f}  {reports:20}  {p50:6.2f}  "
                f"{p99:6.2f}  {1000 * found[-1]:6.1f}",
                flush=True,
            )
    return 0 if worst <= MOST_MS else 1


def make_run(folder: Path, trials: int) -> RunFolder:
    """A run as a sweep leaves it."""
    sys.path.insert(0, str(TESTS))
    maker = importlib.import_module("make_run")
    shape = maker.Shape(name=f"trials-{trials}")
    run: RunFolder = maker.make_run(folder, shape, trials=trials, strategies=STRATEGIES)
    return run


def taken(run: RunFolder) -> tuple[float, float]:
    """Seconds that findings and report take in a process that has made both before."""
    write_report(run, report_of(run))
    began = time.perf_counter()
    report = report_of(run)
    computed = time.perf_counter()
    write_report(run, report)
    return computed - began, time.perf_counter() - computed


def gaps(run: RunFolder, reports: int = 2) -> tuple[int, list[float]]:
    """Seconds from one poll to the next, sorted, while reports are made; the first from nothing."""
    run.report_html.unlink()
    now = 0.0  # no pause between reports
    found: list[float] = []
    with ReportMaker(run, clock=lambda: now) as maker:
        for _ in range(reports):
            last = time.perf_counter()
            maker.request()
            maker.poll()
            while maker.busy:
                time.sleep(_TICK_SECONDS)
                found.append(time.perf_counter() - last)
                last += found[-1]
                maker.poll()
            assert not maker.no_charts, maker.no_charts
            now += 1e6
    assert run.report_html.is_file()
    return reports, sorted(found)


if __name__ == "__main__":
    sys.exit(main())
