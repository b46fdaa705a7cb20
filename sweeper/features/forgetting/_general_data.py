"""General text or instructions: a part to replay in training, and a held-back part to score."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from sweeper import units
from sweeper.cache import home
from sweeper.data.examples import Dataset, Example, digest
from sweeper.errors import DataError
from sweeper.facts.models.model_folder import weights_state
from sweeper.facts.record import ModelFacts
from sweeper.features.forgetting.options import Options
from sweeper.spec import Spec
from sweeper.trials import GENERAL

# The cache folder, below SWEEPER_HOME, of texts that base models wrote.
FOLDER = "general"
TEXT = f"{GENERAL}.text"
"""The name of the loss on general text among the measures of a trial."""
# Texts on which every completed trial is scored: few, to stay a small part of its time.
HELD_BACK_TEXTS = 32
# Texts on which a trial with a limit is scored at each rung below the last.
RUNG_TEXTS = 8
# Held-back texts are cut to this length, at which 32 of them cost a 135M model seconds on a CPU.
HELD_BACK_TOKENS = 128
# At most one in this many different texts is held back, but at least one text.
_TEXTS_PER_HELD_BACK = 5
# Replay needs about one general text for a few task examples. So at most as many texts are
# tokenised as the task has examples, or this many if it has fewer.
_MIN_REPLAY_LIMIT = 1000


@dataclass(frozen=True)
class SelfSampling:
    """Sampling options of a base model that writes general text itself.

    Args:
        texts: Number of texts, or of questions and answers if there is a chat template; empty and
            repeated ones are left out afterwards.
        tokens: Limit on the tokens of a text, of a question and of an answer.
        temperature: 1 samples the model's own distribution.
    """

    texts: int = 160
    tokens: int = 128
    temperature: float = 1.0
    batch: int = 16
    seed: int = 0


@dataclass(frozen=True)
class GeneralText:
    """General data in its two parts.

    Args:
        replay: Examples that may be mixed into training, in the order of hashes.
        held_back: Examples with which forgetting is measured.
        leaked: Number of rows left out because they quote validation or test rows of the task.
        fingerprint: SHA-256 over the content of both parts.
    """

    replay: tuple[Example, ...]
    held_back: tuple[Example, ...]
    leaked: int
    fingerprint: str


def general_text(spec: Spec, dataset: Dataset) -> GeneralText:
    """The general data that a request names, without rows that quote the task's held-out rows.

    Raises:
        DataError: The data cannot be read or recognised, or are too few to be of use.
    """
    # Imported here: plans use the constants above, but read no data.
    from sweeper.data.load import load_corpus
    from sweeper.data.similar import held_out, without_duplicates, without_held_out_text

    options = spec.features.of(Options)
    assert options.general is not None
    examples = load_corpus(options.general, spec.data, revision=options.general_revision)
    unique_examples = without_duplicates(examples)
    clean = without_held_out_text(unique_examples, held_out(dataset))
    if len({example.key for example in clean}) < 2:
        raise DataError(
            f"{units.plural(len(clean), 'general text')} left of {len(examples)}",
            why="One part is held back for scoring, so at least two different texts are needed. "
            "Repeated texts and those that quote the task's validation or test rows are left out.",
            fix="Name more general text with --general.",
            where=options.general,
        )
    max_replayed = max(_MIN_REPLAY_LIMIT, len(dataset.splits["train"]))
    leaked = len(unique_examples) - len(clean)
    return divided(clean, spec.data.split_seed, max_replayed, leaked)


def divided(examples: Iterable[Example], seed: int, max_texts: int, leaked: int = 0) -> GeneralText:
    """Hold back a few texts by the hash of their input; ``max_texts`` others may be replayed.

    Rows that have the input of a held-back text, or quote one, are not replayed.
    """
    from sweeper.data.similar import without_held_out_text

    ordered = sorted(examples, key=lambda e: (digest(f"{seed}:{e.key}"), e.content_hash()))
    keys = list(dict.fromkeys(example.key for example in ordered))
    held_keys = set(keys[: max(1, min(HELD_BACK_TEXTS, len(keys) // _TEXTS_PER_HELD_BACK))])
    # In reverse, so that the first of several examples with the same key is kept.
    first_by_key = {example.key: example for example in reversed(ordered)}
    held_back = tuple(first_by_key[key] for key in keys if key in held_keys)
    others = tuple(example for example in ordered if example.key not in held_keys)
    replay = without_held_out_text(others, held_back)[:max_texts]
    sha = hashlib.sha256()
    for part in (held_back, replay):
        sha.update(f"{len(part)}\n".encode())
        for example in part:
            sha.update(example.content_hash().encode())
    return GeneralText(replay, held_back, leaked, sha.hexdigest())


def own_text_folder(facts: ModelFacts, weights: Path, sampling: SelfSampling) -> Path:
    """The cache folder of a base's self-generated text, which may not exist yet."""
    parts = {
        "sampling": asdict(sampling),
        "model": [facts.id, facts.revision],
        "weights": weights_state(weights),
    }
    return home() / FOLDER / hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def has_written(facts: ModelFacts) -> bool:
    """Whether text that the base wrote for an earlier run is kept."""
    if facts.folder is None:
        return False
    return own_text_folder(facts, Path(facts.folder), SelfSampling()).is_dir()
