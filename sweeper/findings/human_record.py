"""What people prefer: the pairs of a page, what raters answered, and what it shows. Only types."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sweeper.artifact import Artifact, Record
from sweeper.findings.figures import Interval

Choice = Literal["left", "right", "tie"]
RATINGS_FORMAT = "sweeper-human-ratings"


class RatedPair(Record):
    """The winner's answer and another model's to one test item, on the sides they are shown."""

    id: str
    item: int
    left: str
    right: str


class HumanPage(Artifact):
    """Which answers a page shows: the key that its raters do not see.

    ``same`` are pairs (item, model) whose two answers are equal: they are not shown and count as
    ties.
    """

    page: str = Field(description="digest of the pairs and of all texts")
    winner: str
    pairs: tuple[RatedPair, ...]
    same: tuple[tuple[int, str], ...] = ()


class Ratings(Artifact):
    """What one rater answered: the file that a page exports."""

    format: Literal["sweeper-human-ratings"]
    page: str
    rater: str = Field(min_length=1, max_length=60)
    ratings: dict[str, Choice]
    checksum: str

    def expected_checksum(self) -> str:
        """FNV-1a (32 bits) of page, rater and ratings: shows an edit, proves no identity."""
        lines = [self.page, self.rater, *(f"{k}={v}" for k, v in sorted(self.ratings.items()))]
        value = 0x811C9DC5
        for byte in "\n".join(lines).encode():
            value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
        return f"{value:08x}"


class AllRatings(Artifact):
    """The ratings of all raters of one page."""

    raters: tuple[Ratings, ...]


class WinRate(Record):
    """The winner against one model. Counts are of ratings, ``same`` of items."""

    other: str
    title: str
    won: int
    tied: int
    lost: int
    same: int
    win_rate: Interval = Field(description="share of items, ties as a half")
    outcome: Literal["preferred", "not preferred", "undecided"]


class HumanPreferences(Record):
    """What the raters of a run prefer."""

    winner: str
    raters: int
    items: int
    preferences: tuple[WinRate, ...]
    agreement: float | None = Field(
        None, description="share of equal ratings, over pairs of raters"
    )
    kappa: float | None = Field(None, description="Cohen's, mean over pairs of raters")
    left_share: Interval | None = Field(None, description="of the ratings that are no ties")
