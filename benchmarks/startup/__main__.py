"""CPU time of what should feel instant, as a ratio to importing typer, pydantic and rich.

    python -m benchmarks.startup [--rounds 15]

Each command runs in a process of its own, the commands of a round one after the other, so that a
busy machine slows all of them alike. User and system seconds count. Byte code is written before,
as an installation does it. The last lines are parts of a plan, without what starting Python and
importing sweeper take. Exits with 1 if the ratio of the medians is above a command's bar.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile

START = "from sweeper.cli.main import main; main()"
NUMBERS = ["--task", "instruction", "--examples", "5000", "--gpu-memory", "24", "--model", "7B"]
BASE = "import typer, pydantic, rich"
# What is run, and the highest ratio to BASE that it may have.
COMMANDS = {
    "sweeper --help": ([START, "--help"], 2.5),
    "sweeper plan, from numbers": ([START, "plan", *NUMBERS], 4.5),
}
TIMED = """import time
{prepare}
start = time.process_time()
{work}
print(time.process_time() - start)
"""
PARTS = {
    "the rule book, read": (
        "from sweeper.planning.rulebook.book import rule_book",
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


def seconds_of(words: list[str], byte_code: str) -> float:
    """CPU seconds of a Python process that runs a program with arguments, start included."""
    around = {name: value for name, value in os.environ.items() if "BYTECODE" not in name}
    around["PYTHONPYCACHEPREFIX"] = byte_code
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=around)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def rounds_of(number: int) -> dict[str, list[float]]:
    """CPU seconds of BASE and of each command, one of each round."""
    programs = {BASE: [BASE], **{name: words for name, (words, _) in COMMANDS.items()}}
    with tempfile.TemporaryDirectory() as byte_code:
        for words in programs.values():
            seconds_of(words, byte_code)
        rounds = [
            {name: seconds_of(words, byte_code) for name, words in programs.items()}
            for _ in range(number)
        ]
    return {name: [one[name] for one in rounds] for name in programs}


def part_seconds(prepare: str, work: str) -> float:
    """CPU seconds of some work in a fresh process, what it needs imported before."""
    program = TIMED.format(prepare=prepare, work=work)
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    return float(done.stdout)


def main() -> int:
    """Print the table; 1 if a command is above its bar."""
    parser = argparse.ArgumentParser(prog="benchmarks.startup")
    parser.add_argument("--rounds", type=int, default=15)
    number = parser.parse_args().rounds
    taken, above = rounds_of(number), False
    for name, seconds in taken.items():
        line = f"{name:<28} best {min(seconds):.3f} s, median {statistics.median(seconds):.3f} s"
        if name in COMMANDS:
            best = min(seconds) / min(taken[BASE])
            median = statistics.median(seconds) / statistics.median(taken[BASE])
            line += f"   ratio {best:.2f}, {median:.2f}, at most {COMMANDS[name][1]}"
            above |= median > COMMANDS[name][1]
        print(line)
    for name, part in PARTS.items():
        print(f"{name:<28} {min(part_seconds(*part) for _ in range(5)):.3f} s")
    return int(above)


if __name__ == "__main__":
    sys.exit(main())
