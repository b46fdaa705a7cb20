"""Facts about general text and the limit on forgetting, for rules and plans."""

from __future__ import annotations

from sweeper.artifact import Record
from sweeper.data.examples import Dataset
from sweeper.facts.record import Facts
from sweeper.features.forgetting._general_data import general_text, has_written
from sweeper.features.forgetting.options import Options
from sweeper.features.parts import record_of
from sweeper.planning.rulebook.fact import FactInput, Value, flag, number
from sweeper.spec import Spec


class ForgettingFacts(Record):
    """Facts about general text.

    Args:
        sha256: Digest of the user's general texts; only set for a run.
        written: Models whose self-generated text is kept from an earlier run.
    """

    sha256: str | None = None
    written: tuple[str, ...] = ()


def _options(inputs: FactInput) -> Options:
    return inputs.spec.features.of(Options)


@number("points", set_by_user=True)
def max_forgetting_points(inputs: FactInput) -> Value:
    """The loss of general capability that --max-forgetting allows."""
    return _options(inputs).max_points


@number(set_by_user=True)
def max_forgetting(inputs: FactInput) -> Value:
    """The limit of --max-forgetting as a share of a score, or in nats per token of a text."""
    points = _options(inputs).max_points
    return None if points is None else points / 100


@flag(set_by_user=True)
def general_data(inputs: FactInput) -> Value:
    """Whether --general is given."""
    return _options(inputs).general is not None


@flag(set_by_user=True)
def replay_wanted(inputs: FactInput) -> Value:
    """Whether replay is requested."""
    return bool(_options(inputs).replay_share)


@flag(set_by_user=True)
def kl_wanted(inputs: FactInput) -> Value:
    """Whether a KL penalty is requested."""
    return bool(_options(inputs).kl_weight)


FACTS = (max_forgetting_points, max_forgetting, general_data, replay_wanted, kl_wanted)


def gather(
    spec: Spec, facts: Facts, dataset: Dataset | None, for_run: bool
) -> ForgettingFacts | None:
    """The digest of the user's general texts, and the models whose self-generated text is kept.

    Raises:
        DataError: The texts cannot be read, or too few are left.
    """
    written = tuple(model.id for model in facts.models if has_written(model))
    sha256 = None
    if for_run and dataset is not None and spec.features.of(Options).general is not None:
        sha256 = general_text(spec, dataset).fingerprint
    record = ForgettingFacts(sha256=sha256, written=written)
    return record if record != ForgettingFacts() else None


def identity(spec: Spec, facts: Facts) -> str | None:
    """The digest of the user's general texts."""
    record = record_of(facts.features, "forgetting", ForgettingFacts)
    return record.sha256 if record else None
