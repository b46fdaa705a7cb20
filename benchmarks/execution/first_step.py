"""Seconds from the command to the first optimizer step of a trial: ``sweeper run`` on a small task.

    python -m benchmarks.execution.first_step [--repeats 5] [--before FOLDER]

A new process and a new run each time, with warm caches: the packaged encoder is converted and the
machine measured in a first call that does not count. ``--before`` is an earlier checkout; the two
run in turn, and the ratio is of neighbours.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

from benchmarks.execution.fixed_cost import HERE, write_rows

WORDS = (
    "--task classification --model packaged:minilm --data rows.jsonl --strategies lora "
    "--trials 4 --finalists 1 --confirmation-seeds 1 --progress none --new --name first"
)
# Python runs a module of this name at its start. In a worker it notes when torch's optimizers have
# made their first step; nothing is imported earlier than it would be.
HOOK = """
import importlib.abc, importlib.util, os, sys, time

class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "torch.optim.optimizer":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module
        def loaded(module):
            load(module)
            module.register_optimizer_step_post_hook(stepped)
        spec.loader.exec_module = loaded
        return spec

def stepped(optimizer, args, kwargs):
    noted = os.environ["FIRST_STEP"]
    if not os.path.exists(noted):
        with open(noted + ".new", "w") as file:
            file.write(str(time.monotonic()))
        os.rename(noted + ".new", noted)

if "sweeper.execution.worker" in sys.orig_argv:
    sys.meta_path.insert(0, Watch())
"""
_LONGEST_SECONDS = 600.0


@dataclass
class Checkout:
    """One version of the program, with caches of its own that outlive its runs."""

    root: Path
    folder: Path

    def seconds(self) -> tuple[float, float]:
        """From starting the command to the first step of its first trial: wall and CPU."""
        noted = self.folder / "stepped"
        noted.unlink(missing_ok=True)
        (self.folder / "sitecustomize.py").write_text(HOOK, encoding="utf-8")
        write_rows(self.folder / "rows.jsonl")
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(self.folder), str(self.root)]),
            "SWEEPER_HOME": str(self.folder / "home"),
            "FIRST_STEP": str(noted),
        }
        program = [sys.executable, "-m", "sweeper.cli.main", "run", *WORDS.split()]
        began = time.monotonic()
        log = self.folder / "log"
        with log.open("w") as file:
            popen = subprocess.Popen(
                program, cwd=self.folder, env=environment, stdout=file, stderr=file
            )
        try:
            while not noted.exists():
                if popen.poll() is not None or time.monotonic() - began > _LONGEST_SECONDS:
                    sys.exit(f"no step was made: {log.read_text(encoding='utf-8')[-2000:]}")
                time.sleep(0.01)
            used = cpu_seconds(psutil.Process(popen.pid))
        finally:
            popen.send_signal(signal.SIGINT)
            popen.wait()
        return float(noted.read_text(encoding="utf-8")) - began, used


def cpu_seconds(process: psutil.Process) -> float:
    """Processor time of a process and of all that it started."""
    used = 0.0
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            used += sum(one.cpu_times()[:4])  # user, system, and those of children that ended
    return used


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.execution.first_step")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--before", type=Path, help="an earlier checkout")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        roots = {"before": chosen.before, "now": HERE}
        known = {name: root.resolve() for name, root in roots.items() if root is not None}
        checkouts = {name: Checkout(root, Path(made) / name) for name, root in known.items()}
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in checkouts}
        for one in checkouts.values():
            one.folder.mkdir()
            one.seconds()
        print("".join(f"{name:>20}" for name in checkouts) + "   load")
        for _ in range(chosen.repeats):
            for name, one in checkouts.items():
                found[name].append(one.seconds())
            shown = (f"{each[-1][0]:8.2f} s {each[-1][1]:6.2f} CPU" for each in found.values())
            print("  ".join(shown), f"{os.getloadavg()[0]:6.1f}", flush=True)
    for number, what in enumerate(("wall", "CPU")):
        parts = [[one[number] for one in each] for each in found.values()]
        text = "  ".join(f"{median(part):.2f} s" for part in parts)
        if len(parts) > 1:
            ratios = [now / before for before, now in zip(*parts, strict=True)]
            text += f"  now / before {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"{what} median: {text}")


if __name__ == "__main__":
    main()
