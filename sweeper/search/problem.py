"""What the search must know of a study: strategies with their parameters, rungs and a seed.

Only types. A ``Plan`` is one of these, and so is the ``Space`` of whoever searches without a plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from sweeper.plan import Hint, Parameter
from sweeper.search.length import Full
from sweeper.spec import OwnTrial


class Arm(Protocol):
    """One strategy that competes.

    ``score`` is what the rules think of it. With ``begins_as_base``, a model that it has not
    trained yet is the base model. With ``one_trial``, a second trial could not differ from the
    first: it fits a head in closed form on the frozen base.
    """

    @property
    def strategy(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def score(self) -> float: ...
    @property
    def seconds_per_trial(self) -> float: ...
    @property
    def begins_as_base(self) -> bool: ...
    @property
    def one_trial(self) -> bool: ...
    @property
    def parameters(self) -> Mapping[str, Parameter]: ...


class Rungs(Full, Protocol):
    """A full budget, and the first report at which a trial may be pruned."""

    @property
    def first_rung(self) -> int: ...


A_co = TypeVar("A_co", bound=Arm, covariant=True)


class Problem(Protocol[A_co]):
    """A study's question."""

    @property
    def candidates(self) -> Sequence[A_co]: ...
    @property
    def own_trials(self) -> Sequence[OwnTrial]: ...
    @property
    def hints(self) -> Sequence[Hint]: ...
    @property
    def budget(self) -> Rungs: ...
    @property
    def seed(self) -> int: ...
