"""Makes the page of what common GPUs can do with common sizes, from the planner itself."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper import units
from sweeper.errors import NothingFits
from sweeper.facts.dataset.stated import stated_facts
from sweeper.facts.machine.hardware import hardware_facts
from sweeper.facts.models.model import model_facts
from sweeper.facts.record import Facts
from sweeper.planning.planner import ranked_candidates
from sweeper.planning.rulebook.book import RuleBook
from sweeper.plans import Candidate, Rejected
from sweeper.spec import AimSpec, DataSpec, HardwareSpec, ModelSpec, Spec

MACHINES = (24, 80)
SIZES = ("7B", "13B", "70B")
STRATEGIES = ("full", "lora", "qlora")

HEAD = """
# What fits where

The table is for instruction tuning on 10,000 examples of up to 512 tokens. For times and reasons,
ask for one plan: `sweeper plan --task instruction --examples 10000 --model 7B --gpu-memory 24`.

| column | meaning |
|---|---|
| memory | predicted peak of the default on one GPU, in GiB; "up to": see below |
| micro-batch 8 x 2 | one GPU processes 8 examples at a time and accumulates gradients twice |

Each prediction has an interval. A strategy fits if the device has room for the upper end of this
interval, for every configuration in the strategy's best-practice range. If it does not fit, "up
to" is the highest of these upper ends.

The column *set-up* leaves out the optimizer. If the usual one does not fit, full fine-tuning uses
[one that needs less memory](devices.md#optimizer). So a larger model can need less memory than a
smaller one.

Several GPUs train as many trials at once: give `--gpus 8` and `--nodes 2`. With `--budget`
(`8gpuh`, `2h`, or `30usd` with `--price`), the plan says how many trials the budget pays for.

| GPU | model | strategy | memory | set-up |
|---|---|---|---|---|
"""


def fits_page(book: RuleBook, note: str) -> str:
    """Every GPU with every size: what fits and how, and what does not, in numbers."""
    rows = [row for gib in MACHINES for size in SIZES for row in _rows(book, gib, size)]
    return f"{note}\n{HEAD}" + "\n".join(rows) + "\n"


def _rows(book: RuleBook, gib: int, size: str) -> Iterator[str]:
    spec = Spec(
        task="instruction",
        models=(ModelSpec(id=size),),
        data=DataSpec(examples=10_000),
        hardware=HardwareSpec(gpu_memory_gib=float(gib)),
        aim=AimSpec(strategies=STRATEGIES),
    )
    model = model_facts(spec.models[0])
    facts = Facts(
        task=spec.task,
        models=(model,),
        data=stated_facts(spec),
        hardware=hardware_facts(spec.hardware),
        aim=spec.aim,
    )
    cells: dict[str, str] = {}
    try:
        candidates, rejected = ranked_candidates(book, spec, facts)
        cells |= {item.strategy: _refused(item) for item in rejected}
        cells |= {item.strategy: _fits(item) for item in candidates}
    except NothingFits as error:
        for problem in error.problems:
            name, _, needs = problem.what.partition(f" cannot be used for {size}: ")
            cells[name] = f"does not fit | {needs}. {_would_fit(problem.fix)}"
    for name in STRATEGIES:
        yield f"| {gib} GB | {size} | {name} | {cells[name]} |"


def _fits(item: Candidate) -> str:
    setup = item.setup
    checkpointing = ", checkpointing" if setup.gradient_checkpointing else ""
    memory = units.gib(item.memory.peak_gib).removesuffix(" GiB")
    return (
        f"{memory} | {setup.precision}, micro-batch "
        f"{setup.micro_batch} x {setup.gradient_accumulation_steps}{checkpointing}"
    )


def _refused(item: Rejected) -> str:
    needs = "" if item.needs_gib is None else f", up to {item.needs_gib:.0f}"
    return f"does not fit{needs} | {_would_fit(item.remedy) if item.remedy else item.reason}"


def _would_fit(remedies: str) -> str:
    """Remedies in one sentence."""
    shortened = (remedy.removesuffix(" would fit") for remedy in remedies.split("; "))
    return f"Would fit: {'; '.join(shortened)}"
