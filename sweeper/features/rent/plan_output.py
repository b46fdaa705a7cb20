"""``sweeper plan --rent``: prints, in place of a plan, the cards that no other card beats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.errors import UsageError
from sweeper.features.rent.options import Options
from sweeper.spec import Spec

if TYPE_CHECKING:
    from rich.console import Group

    from sweeper.features.rent._offers import Offers

_HEADS = ("card", "USD an hour", "strategy", "points", "one trial", "trials", "sweep", "USD")


def show(spec: Spec, *, as_json: bool) -> bool:
    """Print the comparison if the request asks for it. Returns whether it does."""
    options = spec.features.of(Options)
    if not (options.enabled or options.prices):
        return False
    if not spec.models:
        raise UsageError("no model is given", fix="Name one with --model.", where="--rent")
    import typer  # imports in functions, as a plan without --rent loads none of this

    from sweeper.facts.gather import gather
    from sweeper.features.rent._offers import offers, own_prices
    from sweeper.views.console import show_page

    comparison = offers(spec, gather(spec), own_prices(options.prices))
    if as_json:
        typer.echo(comparison.model_dump_json(indent=2))
    else:
        show_page(_page(comparison))
    return True


def _page(offers: Offers) -> Group:
    """A table of the efficient cards, and sections about points, other cards and prices."""
    from rich.console import Group

    from sweeper import units
    from sweeper.views.console import sections, table

    efficient_offers = [offer for offer in offers.offers if offer.efficient]
    other_cards = [offer.gpu for offer in offers.offers if not offer.efficient]
    rows = [
        (
            offer.gpu,
            f"{offer.usd_per_gpu_hour:.2f}",
            offer.strategy,
            f"{offer.points:+.1f}",
            units.duration(offer.run.seconds),
            str(offer.trials),
            units.duration(offer.sweep.seconds),
            f"{offer.cost_usd:.2f}",
        )
        for offer in efficient_offers
    ]
    sources = dict.fromkeys(offer.price_source for offer in offers.offers)
    others = [
        f"{', '.join(other_cards)}. For each of them, the table has a card that is at least as "
        "good in price, time and quality."
    ]
    refusals = [f"{card}: {why}." for card, why in offers.refused.items()]
    return Group(
        table(_HEADS, rows),
        sections(
            [
                ("Points", ["Expected quality after the search, above a trial of LoRA's default."]),
                ("Others", others if other_cards else []),
                ("Refused", refusals),
                ("Prices", [f"{'; '.join(sources)}. Set your own with --rent-price CARD=USD."]),
                ("Next", ["--gpu CARD --price USD shows the plan for one card."]),
            ]
        ),
    )
