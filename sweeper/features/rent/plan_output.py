"""``sweeper plan --rent``: prints the efficient cards in place of a plan."""

from __future__ import annotations

import typer
from rich.console import Group

from sweeper import units
from sweeper.errors import UsageError
from sweeper.facts.gather import gather
from sweeper.features.rent._offers import Offers, offers, own_prices
from sweeper.features.rent.options import Options
from sweeper.spec import Spec
from sweeper.views.console import sections, show_page, table

_HEADS = ("card", "USD an hour", "strategy", "points", "a run", "trials", "sweep", "USD")


def show(spec: Spec, *, as_json: bool) -> bool:
    """Print them if the request asks for it."""
    asked = spec.features.of(Options)
    if not (asked.enabled or asked.prices):
        return False
    if not spec.models:
        raise UsageError("no model is given", fix="Name one with --model.", where="--rent")
    compared = offers(spec, gather(spec), own_prices(asked.prices))
    if as_json:
        typer.echo(compared.model_dump_json(indent=2))
    else:
        show_page(_page(compared))
    return True


def _page(offers: Offers) -> Group:
    """The efficient cards as a table, and the others in one line each."""
    efficient = [one for one in offers.offers if one.efficient]
    others = [one.gpu for one in offers.offers if not one.efficient]
    rows = [
        (
            one.gpu,
            f"{one.usd_per_gpu_hour:.2f}",
            one.strategy,
            f"{one.points:+.1f}",
            units.duration(one.run.seconds),
            str(one.trials),
            units.duration(one.sweep.seconds),
            f"{one.cost_usd:.2f}",
        )
        for one in efficient
    ]
    sources = dict.fromkeys(one.price_source for one in offers.offers)
    better = "A card of the table is as cheap, as fast and as good as each of these"
    refused = [f"{card}: {why}." for card, why in offers.refused.items()]
    return Group(
        table(_HEADS, rows),
        sections(
            [
                ("Points", ["Expected quality after the search, against a run of LoRA's default."]),
                ("Others", [f"{', '.join(others)}. {better}."] if others else []),
                ("Refused", refused),
                ("Prices", [f"{'; '.join(sources)}. --rent-price CARD=USD gives yours."]),
                ("Next", ["--gpu CARD --price USD shows the plan of one of them."]),
            ]
        ),
    )
