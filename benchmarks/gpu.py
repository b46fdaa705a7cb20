"""What works on this machine's GPU, and whether plans hold there.

    python -m benchmarks.gpu --out FOLDER [--model 1B] [--reduced]

Five questions, each answered by commands that a user would run:

1. does everything that sweeper needs work (``sweeper doctor``)?
2. does every strategy train, and does it need the memory and time that were planned?
3. how many tokens a second does a trial train, compared with TRL and transformers' Trainer?
4. what does each way of training faster bring, switched on and off?
5. what does it bring that two trials share the device?

Answers, and the laps of questions 2 and 4, are written to FOLDER as they come, and what is there is
not measured again; so each model needs its own FOLDER. A question that fails is named, and asked
again by the next call.
The last line names the page ``gpu.md``, made for docs. ``--reduced`` asks the same of less data,
for a CPU.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from benchmarks import json_lines, tables
from benchmarks.devices import LONGEST, one_gpu
from benchmarks.memory.trials import Work, measured
from benchmarks.throughput import texts
from benchmarks.throughput.__main__ import lap, rates
from benchmarks.throughput.contenders import COMPLETE_LOGITS, FUSED_KERNELS, NAMES, TEXT_BY_TEXT
from sweeper.facts.models.catalogue import parse_size
from sweeper.facts.models.model import model_facts
from sweeper.features.doctor._checks import byte_tokenizer
from sweeper.spec import ModelSpec
from sweeper.training.probes.bare_models import config_of
from sweeper.traits.traits import known_strategies

# Rows of instructions, and rounds of each contender.
WHOLE, REDUCED = (2000, 3), (24, 1)
# Torch has a kernel for joined rows from Ampere on; elsewhere this is SDPA text by text.
JOINED_BY_TORCH = {"padding_free": True, "attn_implementation": "sdpa"}
# Values that replace those of a plan. An attention that cannot be loaded is replaced by SDPA; the
# table says which one was used.
SWITCHES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("lora", "as planned", {}),
    ("lora", "padded", {"padding_free": False}),
    ("lora", "joined, kernel of torch", JOINED_BY_TORCH),
    ("lora", "joined, SDPA text by text", {**JOINED_BY_TORCH, TEXT_BY_TEXT: True}),
    ("lora", "joined, FlashAttention 2",
     {"padding_free": True, "attn_implementation": "flash_attention_2"}),
    ("lora", "complete logits", {COMPLETE_LOGITS: True}),
    ("lora", "without fused kernels", {FUSED_KERNELS: False}),
    ("full", "as planned", {}),
    *(("full", name, {"optimizer": name}) for name in ("adamw_torch", "adamw_bnb_8bit")),
)  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """What is measured with.

    Args:
        out: Folder for the answers.
        model: What is trained.
        rows: Rows to train on.
        rounds: Rounds of the comparison of throughput.
        cpu: Whether seconds are those of the processor.
    """

    out: Path
    model: str
    rows: int
    rounds: int
    cpu: bool


Question = Callable[[Asked], Any]


def random_weights(size: str, folder: Path) -> Path:
    """A model of a typical shape of that size with random weights, which reads bytes."""
    if not (folder / "config.json").is_file():
        config = config_of(model_facts(ModelSpec(id=size)))
        AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
        byte_tokenizer().save_pretrained(folder)
    return folder


def sweeper(*words: str, folder: Path, home: Path) -> subprocess.CompletedProcess[str]:
    """One sweeper command, as a user gives it, on one GPU."""
    around = one_gpu() | {"SWEEPER_HOME": str(home)}
    return subprocess.run(
        [sys.executable, "-m", "sweeper", *words], cwd=folder, env=around,
        capture_output=True, text=True, timeout=LONGEST, check=False,
    )  # fmt: skip


def doctor(asked: Asked) -> str:
    """The lines of ``sweeper doctor``."""
    with tempfile.TemporaryDirectory() as folder:
        done = sweeper("doctor", folder=Path(folder), home=Path(folder))
    return done.stdout + done.stderr


def strategies(asked: Asked) -> list[dict[str, Any]]:
    """Memory and time of one trial of each strategy, planned and measured."""
    work = Work("functions", asked.model, "instruction", "functions.jsonl", asked.rows)
    kept = asked.out / "strategies.jsonl"
    done = {row["strategy"] for row in _rows(kept)}
    with tempfile.TemporaryDirectory() as home:
        for strategy in known_strategies():
            if strategy in done:
                continue
            with tempfile.TemporaryDirectory() as folder:
                data = Path(folder)
                json_lines.write(data / work.data, texts.real(asked.rows, data))
                _keep(kept, measured(work, strategy, data, data, Path(home)))
    return _rows(kept)


def throughput(asked: Asked) -> dict[str, dict[str, float]]:
    """Tokens a second of each contender, by strategy: the median of the rounds."""
    command = [sys.executable, "-m", "benchmarks.throughput", "--lengths", "real"]
    command += ["--model", asked.model]
    told = asked.out / "laps.json"
    options = ["--rows", str(asked.rows), "--rounds", str(asked.rounds), "--json", str(told)]
    subprocess.run([*command, *options, *(["--cpu"] if asked.cpu else [])], check=True)
    kind = "cpu_seconds" if asked.cpu else "seconds"
    return {
        title: {name: median(rates(laps, kind)) for name, laps in race.items()}
        for title, race in json.loads(told.read_text(encoding="utf-8")).items()
    }


def switches(asked: Asked) -> list[dict[str, Any]]:
    """Tokens a second, memory and training loss of a trial, with one thing changed at a time."""
    kind, answer = "cpu_seconds" if asked.cpu else "seconds", []
    kept = asked.out / "switches.jsonl"
    laps = {(row["strategy"], row["title"], row["round"]): row for row in _rows(kept)}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        data = texts.write(texts.real(asked.rows, folder), folder / "data")
        for strategy, title, switched in SWITCHES:
            case = {"strategy": strategy, "title": title}
            for number in range(asked.rounds):
                if (strategy, title, number) not in laps:
                    done = lap("sweeper", data, strategy, asked.model, switched)
                    laps[strategy, title, number] = {**case, "round": number, **done}
                    _keep(kept, laps[strategy, title, number])
            rounds = [laps[strategy, title, number] for number in range(asked.rounds)]
            complete = [each for each in rounds if "error" not in each]
            if complete:
                names = ("peak_gib", "train_loss", "attention")
                figures = {"rate": median(rates(complete, kind))} | {
                    name: complete[0][name] for name in names
                }
            else:
                figures = {"error": rounds[0]["error"]}
            answer.append({**case, **figures})
    return answer


def sharing(asked: Asked) -> dict[str, Any]:
    """Seconds of a sweep of a few trials, with one worker and with two on the same device."""
    trials = 2 if asked.cpu else 4
    found: dict[str, Any] = {"trials": trials}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        texts.real(asked.rows, folder)
        # The first one prepares model and kernels.
        for count, workers in ((1, "1"), (trials, "1"), (trials, "2")):
            start = time.monotonic()
            done = sweeper(
                "run", "--new", "--model", asked.model, "--task", "instruction",
                "--data", "functions.jsonl", "--strategies", "lora", "--trials", str(count),
                "--epochs", "1",
                "--finalists", "1", "--confirmation-seeds", "1", "--generate-items", "0",
                "--progress", "none", "--workers", workers, folder=folder, home=folder / "home",
            )  # fmt: skip
            if done.returncode:
                raise RuntimeError(f"the sweep failed:\n{(done.stdout + done.stderr)[-3000:]}")
            found[workers] = time.monotonic() - start
    return found


def page(answers: dict[str, Any]) -> str:
    """The answers in Markdown; a question without one is named."""
    return "\n".join(
        "\n".join(section(answers[name])) if name in answers else f"`{name}` has no answer.\n"
        for name, section in SECTIONS.items()
    )


def _doctor_section(answer: str) -> list[str]:
    return ["```", answer.rstrip(), "```", ""]


def _strategies_section(answer: list[dict[str, Any]]) -> list[str]:
    trials = [
        tables.line(one["strategy"], _against(one, "gib"), _against(one, "seconds"))
        if "error" not in one
        else tables.line(one["strategy"], f"did not train: {one['error'][-1].strip()}", "")
        for one in answer
    ]
    heads = ("strategy", "GiB: measured, planned", "seconds: measured, planned")
    return [tables.head(*heads), *trials, ""]


def _throughput_section(answer: dict[str, dict[str, float]]) -> list[str]:
    speeds = [
        tables.line(title, *(f"{rate:,.0f}" for rate in rates.values()))
        for title, rates in answer.items()
    ]
    return [tables.head("tokens a second", *NAMES), *speeds, ""]


def _switches_section(answer: list[dict[str, Any]]) -> list[str]:
    heads = ("strategy", "changed", "tokens a second", "GiB", "training loss", "attention")
    lines = [tables.head(*heads)]
    for one in answer:
        cells = ["did not train", "", "", ""]
        if "error" not in one:
            cells = [f"{one['rate']:,.0f}", f"{one['peak_gib']:.2f}", f"{one['train_loss']:.4f}"]
            cells.append(one["attention"])
        lines.append(tables.line(one["strategy"], one["title"], *cells))
    return [*lines, ""]


def _sharing_section(answer: dict[str, Any]) -> list[str]:
    seconds = (
        f"{answer['trials']} trials of LoRA took {answer['1']:.0f} s with one worker, "
        f"{answer['2']:.0f} s with two."
    )
    return [seconds, ""]


SECTIONS: dict[str, Callable[[Any], list[str]]] = {
    "doctor": _doctor_section,
    "strategies": _strategies_section,
    "throughput": _throughput_section,
    "switches": _switches_section,
    "sharing": _sharing_section,
}
"""The part of the page for each question."""


def _against(row: dict[str, Any], unit: str) -> str:
    low, high = (row[f"{end}_{unit}"] for end in ("low", "high"))
    found = row[f"measured_{unit}"]
    told = "not measured" if found is None else f"{found:.3g}"
    return f"{told}, {row[f'planned_{unit}']:.3g} ({low:.3g}-{high:.3g})"


def _rows(path: Path) -> list[dict[str, Any]]:
    return json_lines.read(path) if path.is_file() else []


def _keep(path: Path, row: dict[str, Any]) -> None:
    json_lines.append(path, row)
    print(json.dumps(row), flush=True)


def _write(path: Path, answer: Any) -> None:
    path.write_text(json.dumps(answer, indent=1), encoding="utf-8")


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def answered(asked: Asked, questions: Iterable[Question]) -> dict[str, Any]:
    """The answers by question, without those of questions that failed, which are printed."""
    answers = {}
    for question in questions:
        name = question.__name__
        kept = asked.out / f"{name}.json"
        if not kept.is_file():
            try:
                _write(kept, question(asked))
            except Exception as error:  # noqa: BLE001 - the other questions have answers
                print(f"{name} failed: {type(error).__name__}: {error}", file=sys.stderr)
                continue
        answers[name] = _read(kept)
    return answers


def main() -> None:
    """Ask all questions that have no answer yet, then write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--model",
        default="packaged:smollm2",
        help="also a size, such as 1B or 8B, for random weights in a typical shape",
    )
    parser.add_argument("--reduced", action="store_true", help="little data, for a CPU")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    measured_with = {"model": chosen.model, "reduced": chosen.reduced}
    record = chosen.out / "measured_with.json"
    if not record.is_file():
        _write(record, measured_with)
    if (recorded := _read(record)) != measured_with:
        parser.error(
            f"{chosen.out} has answers for {recorded}, and you ask for {measured_with}: "
            "name another folder with --out"
        )
    rows, rounds = REDUCED if chosen.reduced else WHOLE
    model = chosen.model
    if parse_size(model) is not None:
        model = str(random_weights(model, chosen.out.resolve() / "model"))
    asked = Asked(chosen.out.resolve(), model, rows, rounds, cpu=chosen.reduced)
    answers = answered(asked, (doctor, strategies, throughput, switches, sharing))
    (asked.out / "gpu.md").write_text(page(answers), encoding="utf-8")
    print(asked.out / "gpu.md")
    if missing := [name for name in SECTIONS if name not in answers]:
        sys.exit(f"without an answer: {', '.join(missing)}")


if __name__ == "__main__":
    main()
