"""The formula beside the library: dry runs over models of the catalogue and all strategies.

``python -m benchmarks.memory.dry_runs`` builds the real class of each architecture on the meta
device, in its real width with four layers, and follows one training step. It needs no memory.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table
from transformers import PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from benchmarks import json_lines
from sweeper.errors import SweeperError
from sweeper.facts.models import catalogue
from sweeper.facts.models.architecture import architecture
from sweeper.facts.models.linear_layers import parameters_of
from sweeper.facts.record import ModelFacts
from sweeper.features.memory_estimate._dry_run import follow
from sweeper.memory.estimate import worst_phase
from sweeper.memory.setup import Setup
from sweeper.traits.traits import traits_of
from sweeper.units import GIB

_LAYERS, _CLASSES = 4, 7
#: Agreement: the formula is within this share of the dry run.
TOLERANCE = 0.1
#: What libraries raise where they refuse a pair of a model and a method.
_REFUSALS = (SweeperError, AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError)
_SHAPE: dict[str, Any] = {"micro_batch": 4, "sequence_length": 384}
SETUPS = {
    "full": Setup(strategy="full", **_SHAPE),
    "full, pure bf16": Setup(strategy="full", precision="bf16-pure", **_SHAPE),
    "full, adafactor": Setup(strategy="full", optimizer="adafactor", **_SHAPE),
    "full, 8-bit AdamW": Setup(strategy="full", optimizer="adamw_bnb_8bit", **_SHAPE),
    "lora": Setup(strategy="lora", **_SHAPE),
    "lora, checkpointing": Setup(strategy="lora", gradient_checkpointing=True, **_SHAPE),
    "qlora": Setup(strategy="qlora", quantization="nf4-dq", **_SHAPE),
    "adapter": Setup(strategy="adapter", **_SHAPE),
    "prefix": Setup(strategy="prefix", **_SHAPE),
    "ptuning": Setup(strategy="ptuning", encoder_hidden_size=128, **_SHAPE),
}


def models() -> Iterator[tuple[str, PretrainedConfig]]:
    """The first model of each architecture of the catalogue that can be trained, cut in depth."""
    seen = set()
    for name in catalogue.entries():
        entry = catalogue.entries().get(name)
        assert entry is not None  # it is known
        fields = dict(entry.config)
        kind = str(fields.pop("model_type"))
        if kind in seen or kind not in CONFIG_MAPPING:
            continue
        seen.add(kind)
        for depth in ("num_hidden_layers", "n_layer", "n_layers", "num_layers"):
            if depth in fields:
                fields[depth] = _LAYERS
        if isinstance(kinds := fields.get("layer_types"), list):
            fields["layer_types"] = kinds[:_LAYERS]
        if kind == "gpt_neo":  # a kind of attention for each layer
            fields["attention_types"] = [[["global", "local"], _LAYERS // 2]]
        yield name, CONFIG_MAPPING[kind](**fields)


def facts_of(name: str, config: PretrainedConfig) -> ModelFacts:
    """Facts of the model as it was cut."""
    shape = architecture(config.to_dict())
    counted = {"parameters": parameters_of(shape), "parameters_exact": False}
    return ModelFacts(id=name, source="local", **counted, **dict(shape))


def compared(name: str, config: PretrainedConfig, label: str) -> dict[str, Any]:
    """Formula and dry run of one set-up of one model, in GiB, or why there is none."""
    facts, setup = facts_of(name, config), SETUPS[label]
    if facts.kind == "encoder":
        setup = setup.replace(classes=_CLASSES)
    row = {"model": name, "model_type": facts.model_type, "setup": label}
    try:
        followed = follow(facts, setup, config)
    except _REFUSALS as error:
        return row | {"refused": f"{type(error).__name__}: {error}".splitlines()[0]}
    worst = worst_phase(facts, setup)
    formula = worst.total - worst.parts.get("library workspace", 0.0)
    return row | {
        "formula_gib": formula / GIB,
        "dry_run_gib": followed.peak_gib,
        "formula_phase": worst.name,
        "dry_run_phase": followed.phase,
    }


def show(rows: list[dict[str, Any]], console: Console) -> None:
    """A line for each set-up, and every pair outside the tolerance."""
    table = Table(title="The formula over the dry run", title_justify="left")
    for column in ("set-up", "architectures", "median", "lowest", "highest", "within 10%"):
        table.add_column(column)
    off = []
    for label in SETUPS:
        told = [row for row in rows if row["setup"] == label and "formula_gib" in row]
        ratios = sorted(row["formula_gib"] / row["dry_run_gib"] for row in told)
        if not ratios:
            continue
        inside = [abs(ratio - 1) <= TOLERANCE for ratio in ratios]
        figures = (median(ratios), ratios[0], ratios[-1])
        table.add_row(
            label, str(len(ratios)), *(f"{ratio:.2f}" for ratio in figures), str(sum(inside))
        )
        off += [row for row in told if abs(row["formula_gib"] / row["dry_run_gib"] - 1) > TOLERANCE]
    console.print(table)
    for row in off:
        ratio = row["formula_gib"] / row["dry_run_gib"]
        console.print(f"{row['model_type']}, {row['setup']}: {ratio:.2f}", highlight=False)
    refused = [row for row in rows if "refused" in row]
    for row in refused:
        console.print(f"{row['model_type']}, {row['setup']}: {row['refused']}", highlight=False)


def main() -> None:
    """Follow all of them, or those that are named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory.dry_runs")
    parser.add_argument("--types", help="architectures with commas; all if left out")
    parser.add_argument("--setups", help="set-ups with semicolons; all if left out")
    parser.add_argument("--out", type=Path, help="JSON Lines of all pairs")
    chosen = parser.parse_args()
    wanted = chosen.types.split(",") if chosen.types else None
    labels = chosen.setups.split(";") if chosen.setups else list(SETUPS)
    rows = []
    for name, config in models():
        if wanted is not None and config.model_type not in wanted:
            continue
        for label in labels:
            if traits_of(SETUPS[label].strategy).gradients_through_base:
                rows.append(compared(name, config, label))
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    if chosen.out:
        json_lines.write(chosen.out, rows)
    show(rows, Console(width=110))


if __name__ == "__main__":
    main()
