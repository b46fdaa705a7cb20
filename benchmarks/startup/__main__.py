"""CPU seconds of what should feel instant: the help, an offline plan, the rule book, an estimate.

    python -m benchmarks.startup [--rounds 5]

The least of all rounds is printed, since a busy machine only ever adds. Each runs in a process of
its own; the last two without what starting Python and importing sweeper take.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

START = "from sweeper.cli.main import main; main()"
PLAN = ("--task", "classification", "--examples", "2000", "--gpu-memory", "24", "--model", "7B")
# What is run, and its bar in seconds, if it has one.
COMMANDS = {
    "sweeper --help": (["-c", START, "--help"], 0.3),
    "sweeper plan, offline": (["-c", START, "plan", *PLAN], 0.6),
}
TIMED = """import time
{prepare}
start = time.process_time()
{work}
print(time.process_time() - start)
"""
PARTS = {
    "the rule book, read": (
        "from sweeper.planning.rulebook.rules import rule_book",
        "rule_book()",
    ),
    "100 estimates of memory": (
        "from sweeper.facts.models.model import model_facts; from sweeper.spec import ModelSpec; "
        "from sweeper.memory.estimate import estimate; from sweeper.memory.setup import Setup; "
        "facts = model_facts(ModelSpec(id='meta-llama/Meta-Llama-3-8B'))",
        "[estimate(facts, Setup(strategy='lora', micro_batch=n, sequence_length=1000 + n), 80)"
        " for n in range(1, 101)]",
    ),
}


def command_seconds(words: list[str]) -> float:
    """CPU seconds of a Python process, start included."""
    before = os.times()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    used = after.children_user + after.children_system
    return used - before.children_user - before.children_system


def part_seconds(prepare: str, work: str) -> float:
    """CPU seconds of some work in a fresh process, what it needs imported before."""
    program = TIMED.format(prepare=prepare, work=work)
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    return float(done.stdout)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.startup")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = range(parser.parse_args().rounds)
    for name, (words, bar) in COMMANDS.items():
        least = min(command_seconds(words) for _ in rounds)
        print(f"{name:<26} {least:.2f} s   bar {bar} s")
    for name, part in PARTS.items():
        print(f"{name:<26} {min(part_seconds(*part) for _ in rounds):.2f} s")


if __name__ == "__main__":
    main()
