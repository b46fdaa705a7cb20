"""What rules decide by, and what is known of general text before a plan is made."""

from __future__ import annotations

from sweeper.artifact import Record
from sweeper.data.examples import Dataset
from sweeper.facts.record import Facts
from sweeper.features.forgetting._general_data import general_text
from sweeper.features.forgetting._own_text import has_written
from sweeper.features.forgetting.options import Options
from sweeper.features.parts import record_of
from sweeper.planning.rulebook.fact import Scene, flag, number
from sweeper.spec import Spec


class ForgettingFacts(Record):
    """General text.

    Args:
        sha256: Of the user's texts, for a run; None without any.
        written: Models of which text that they wrote themselves is kept from an earlier run.
    """

    sha256: str | None = None
    written: tuple[str, ...] = ()


def _options(scene: Scene) -> Options:
    return scene.spec.features.of(Options)


FACTS = (
    number(
        "max_forgetting_points",
        "points",
        "--max-forgetting is {}",
        lambda s: _options(s).max_points,
        "the loss of general capability that the user allows",
        chosen=True,
    ),
    number(
        "max_forgetting",
        "shares or nats",
        "--max-forgetting is {} in shares or nats",
        lambda s: None if (points := _options(s).max_points) is None else points / 100,
        chosen=True,
    ),
    flag(
        "general_data", "--general is given", lambda s: _options(s).general is not None, chosen=True
    ),
    flag(
        "replay_wanted",
        "replay is requested",
        lambda s: bool(_options(s).replay_share),
        chosen=True,
    ),
    flag(
        "kl_wanted", "a KL penalty is requested", lambda s: bool(_options(s).kl_weight), chosen=True
    ),
)


def gather(
    spec: Spec, facts: Facts, dataset: Dataset | None, for_run: bool
) -> ForgettingFacts | None:
    """The digest of the user's general texts, and which models wrote some themselves.

    Raises:
        DataError: The texts cannot be read, or too few are left.
    """
    written = tuple(model.id for model in facts.models if has_written(model))
    sha256 = None
    if for_run and dataset is not None and spec.features.of(Options).general is not None:
        sha256 = general_text(spec, dataset).fingerprint
    found = ForgettingFacts(sha256=sha256, written=written)
    return found if found != ForgettingFacts() else None


def identity(spec: Spec, facts: Facts) -> str | None:
    """The digest of the user's general texts."""
    known = record_of(facts.features, "forgetting", ForgettingFacts)
    return known.sha256 if known else None
