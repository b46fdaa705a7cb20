"""Makes a plan for each card that can be rented, and finds those that no other card beats."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping

from pydantic import Field

from sweeper.artifact import Record
from sweeper.errors import NothingFits, SpecError
from sweeper.facts.machine.gpus import ListPrice, by_name, list_prices
from sweeper.facts.machine.hardware import hardware_facts
from sweeper.facts.machine.measured import with_measured
from sweeper.facts.record import Facts
from sweeper.planning.planner import make_plan
from sweeper.plans import Duration
from sweeper.spec import Spec


class Offer(Record):
    """The plan for one card.

    Args:
        points: Expected quality of the best trial, in points above one trial with LoRA's default.
        run: Time of one full trial of the recommended strategy.
        sweep: Time of all phases.
        efficient: Whether no other card is as good in cost, time and points, and better in one.
    """

    gpu: str
    usd_per_gpu_hour: float
    price_source: str
    strategy: str
    points: float
    run: Duration
    trials: int
    sweep: Duration
    cost_usd: float
    efficient: bool = False


class Offers(Record):
    """Plans for all cards with a price, the cheapest first.

    Args:
        refused: Reason why a card has no plan, by its name.
    """

    offers: tuple[Offer, ...]
    refused: dict[str, str] = Field(default_factory=dict)


def own_prices(texts: Iterable[str]) -> dict[str, ListPrice]:
    """The user's prices (``CARD=USD``), by the names of cards in the table.

    Raises:
        SpecError: A card is unknown, or a price is not a number above 0.

    >>> own_prices(["rtx 4090=0.5"])["RTX 4090"].usd
    0.5
    """
    prices = {}
    for text in texts:
        card, _, usd = text.rpartition("=")
        try:
            price = ListPrice(usd=float(usd), source="--rent-price")
        except ValueError:
            fix = "Write CARD=USD, for example --rent-price 'RTX 4090=0.5'."
            what = f"expected CARD=USD, got {text!r}"
            raise SpecError(what, fix=fix, where="--rent-price") from None
        prices[by_name(card).name] = price
    return prices


def offers(spec: Spec, facts: Facts, own: Mapping[str, ListPrice]) -> Offers:
    """The plan of a request on each card that has a price.

    Args:
        own: The user's prices, which replace those of the table.

    Raises:
        NothingFits: No card has a plan.
    """
    planned: list[Offer] = []
    refused: dict[str, str] = {}
    for name, price in {**list_prices(), **own}.items():
        machine = spec.hardware.model_copy(
            update={"gpu": name, "gpu_memory_gib": None, "price_per_gpu_hour": price.usd}
        )
        hardware = with_measured(hardware_facts(machine), facts.models)
        try:
            plan = make_plan(
                spec.model_copy(update={"hardware": machine}),
                facts.model_copy(update={"hardware": hardware}),
            )
        except NothingFits as error:
            refused[name] = error.problems[0].what
            continue
        candidate, budget = plan.candidates[0], plan.budget
        assert budget.cost_usd is not None
        planned.append(
            Offer(
                gpu=name,
                usd_per_gpu_hour=price.usd,
                price_source=price.source,
                strategy=candidate.strategy,
                points=round(candidate.quality.mean + plan.search_gain.mean, 2),
                run=candidate.duration,
                trials=budget.trials,
                sweep=budget.sweep,
                cost_usd=budget.cost_usd,
            )
        )
    if not planned:
        raise NothingFits(
            f"none of {len(refused)} cards with a price holds the model",
            why=next(iter(refused.values())),
            fix="Plan for several GPUs or another card with --gpu, or for a smaller --model.",
        )
    planned.sort(key=lambda offer: offer.cost_usd)
    return Offers(
        offers=tuple(
            each.model_copy(update={"efficient": _is_efficient(each, planned)}) for each in planned
        ),
        refused=refused,
    )


def _is_efficient(offer: Offer, offers: Iterable[Offer]) -> bool:
    """Whether none of the offers is at least as good in every figure and better in one."""
    own_costs = _costs(offer)
    return not any(
        costs != own_costs and all(map(operator.le, costs, own_costs))
        for costs in map(_costs, offers)
    )


def _costs(offer: Offer) -> tuple[float, float, float]:
    """Money, seconds, and points with their sign turned: the less the better."""
    return offer.cost_usd, offer.sweep.seconds, -offer.points
