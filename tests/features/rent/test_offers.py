from __future__ import annotations

from typing import Any

import pytest

from sweeper.errors import NothingFits, SpecError, UsageError
from sweeper.facts.machine.gpus import list_prices, table
from sweeper.features.rent._offers import Offer, offers, own_prices


def test_every_card_with_a_price_is_in_the_table_of_cards() -> None:
    assert list_prices()
    assert set(list_prices()) <= set(table())
    assert all(price.source for price in list_prices().values())


def test_an_efficient_card_is_beaten_by_none_and_every_other_by_one(scene: Any) -> None:
    compared = offers(*scene(rows=20_000), {})

    def beats(one: Offer, other: Offer) -> bool:
        pairs = (
            (one.cost_usd, other.cost_usd),
            (one.sweep.seconds, other.sweep.seconds),
            (-one.points, -other.points),
        )
        return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)

    for offer in compared.offers:
        better = [one for one in compared.offers if beats(one, offer)]
        assert offer.efficient is not bool(better)
    assert {one.gpu for one in compared.offers} | set(compared.refused) == set(list_prices())
    prices = [one.cost_usd for one in compared.offers]
    assert prices == sorted(prices)
    assert 1 < sum(one.efficient for one in compared.offers) < len(compared.offers)


def test_the_users_price_replaces_that_of_the_table(scene: Any) -> None:
    request = scene(rows=2_000)
    before = {one.gpu: one for one in offers(*request, {}).offers}
    after = {one.gpu: one for one in offers(*request, own_prices(["h100=0.01", "A40=0.3"])).offers}
    assert after["H100"].cost_usd < before["H100"].cost_usd / 100
    assert after["H100"].price_source == "--rent-price"
    assert after["A40"].usd_per_gpu_hour == 0.3
    assert set(after) == {*before, "A40"}


def test_a_card_that_holds_nothing_is_refused_with_a_reason_and_all_of_them_are_an_error(
    scene: Any,
) -> None:
    compared = offers(*scene(model="70B", rows=200), {})
    assert "RTX 4090" in compared.refused
    assert {one.gpu for one in compared.offers} >= {"H200", "B200"}
    with pytest.raises(NothingFits):
        offers(*scene(model="70B", rows=200, aim={"strategies": ("full",)}), {})


@pytest.mark.parametrize(
    ("text", "error"), [("H100", SpecError), ("H100=x", SpecError), ("H100=-1", SpecError),
                        ("no such card=1", UsageError)],
)  # fmt: skip
def test_a_price_that_is_none_is_refused(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        own_prices([text])
