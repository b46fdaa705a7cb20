"""Adds a model to the catalogue from its ``config.json``.

    python -m sweeper.facts.models.add_to_catalogue config.json OWNER/NAME --source WHERE

Only fields that decide the shape are kept. A configuration that cannot be read, an id that is there
already, and a shape that does not give the published number of parameters are refused.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import yaml

from sweeper.errors import ModelError, SweeperError
from sweeper.facts.models import catalogue
from sweeper.facts.models.architecture import architecture
from sweeper.facts.models.model_folder import read_json
from sweeper.facts.models.parameter_counts import count_parameters
from sweeper.resources import search_spaces

TOLERANCE = 0.02
"""How far a count may be from the rounded one that a model card states."""


def main() -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="sweeper.facts.models.add_to_catalogue")
    parser.add_argument("config", type=Path, help="the model's config.json")
    parser.add_argument("id", help="its id on the hub: owner/name")
    parser.add_argument("--source", required=True, help="where the configuration was read")
    parser.add_argument("--parameters", type=int, help="the published count, exactly")
    parser.add_argument("--stated", help="the published count where it is rounded, such as 8.5B")
    parser.add_argument("--also", nargs="*", default=[], help="other models of this shape")
    parser.add_argument("--license")
    parser.add_argument("--pooling", choices=("mean", "cls", "last"))
    parser.add_argument("--note", help="what a reader of a plan must know")
    parser.add_argument("--chat-template", action="store_true")
    told = vars(parser.parse_args())
    path, model_id = told.pop("config"), told.pop("id")
    try:
        add(model_id, read_json(path), {name: value for name, value in told.items() if value})
    except SweeperError as error:
        sys.exit(str(error))


def add(model_id: str, config: Mapping[str, object], more: Mapping[str, object]) -> None:
    """Append one entry to ``search_spaces/models.yaml``.

    Raises:
        ModelError: The id is there already, the configuration is none of a language model, or its
            shape does not give the published count.
    """
    if model_id in catalogue.entries():
        raise ModelError(f"{model_id} is in the catalogue already")
    inner = config.get("text_config")
    flat = {**config, **inner} if isinstance(inner, Mapping) else config
    whole = _Read({name: value for name, value in flat.items() if name != "text_config"})
    counted = count_parameters(architecture(whole, model_id))
    _check_count(model_id, counted, more)
    kept = {
        name: value for name, value in whole.items() if name in whole.asked and value is not None
    }
    if "torch_dtype" in kept:
        kept["dtype"] = kept.pop("torch_dtype")
    with (search_spaces() / "models.yaml").open("a", encoding="utf-8") as file:
        file.write(written(model_id, kept, more))


class _Read(dict[str, object]):
    """A configuration that notes which of its fields a shape is read from."""

    def __init__(self, config: Mapping[str, object]) -> None:
        super().__init__(config)
        self.asked: set[str] = set()

    def get(self, name: str, default: object = None) -> object:
        self.asked.add(name)
        return super().get(name, default)


def _check_count(model_id: str, counted: int, more: Mapping[str, object]) -> None:
    exact, stated = more.get("parameters"), catalogue.parse_size(str(more.get("stated") or ""))
    if (exact and counted != exact) or (stated and abs(counted / stated - 1) > TOLERANCE):
        raise ModelError(
            f"{model_id}: its shape gives {counted:,} parameters, published are "
            f"{exact or stated:,}",
            fix="Correct the configuration, or add the family to search_spaces/families.yaml.",
        )


def written(model_id: str, config: Mapping[str, object], more: Mapping[str, object]) -> str:
    """One entry as the catalogue writes it."""
    shape = yaml.safe_dump(dict(config), default_flow_style=True, sort_keys=False).strip()
    rest = yaml.safe_dump(dict(more), default_flow_style=None, sort_keys=False)
    entry = f"config: {shape}\n{rest}" if more else f"config: {shape}\n"
    return f"{model_id}:\n{textwrap.indent(entry, '  ')}"


if __name__ == "__main__":
    main()
