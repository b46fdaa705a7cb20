"""General text or instructions: a part to replay in training, and a small part to measure with.

What is measured with is never trained on.
"""

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

# In the cache, with what base models wrote.
FOLDER = "general"
TEXT = f"{GENERAL}.text"
"""The name of the loss on general text among the measures of a trial."""
# Every completed trial is scored on these, so that they must stay a small part of its time.
HELD_BACK = 32
# Of them, those that a trial with a limit is scored on at each rung below the last.
RUNG_TEXTS = 8
# What is held back is cut there: 32 texts of this length cost a 135M model seconds on a CPU.
HELD_BACK_TOKENS = 128
# Of a small set no more than this share is held back.
_SHARE = 5
# Replay takes about one general text for every few examples of the task; of a large set no more
# are tokenised than the task has examples, or than this.
_FEWEST = 1000


@dataclass(frozen=True)
class SelfSampling:
    """Sampling options of a base model that writes general text itself.

    Args:
        texts: How many, and an answer to each where it has a chat template; empty and repeated ones
            are left out afterwards.
        tokens: The most of one text, or of a question and of its answer.
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
        replay: What may be mixed into training, in the order of hashes.
        held_back: What forgetting is measured with.
        leaked: Rows that were left out, since they quote validation or test rows of the task.
        fingerprint: SHA-256 over the content of both parts.
    """

    replay: tuple[Example, ...]
    held_back: tuple[Example, ...]
    leaked: int
    fingerprint: str


def general_text(spec: Spec, dataset: Dataset) -> GeneralText:
    """The general data that a request names, without what quotes the task's held-out rows.

    Raises:
        DataError: It cannot be read or recognised, or holds too little to be of use.
    """
    # Here, since plans use the numbers above and read no data.
    from sweeper.data.corpus import held_out, without_duplicates, without_held_out_text
    from sweeper.data.load import load_corpus

    options = spec.features.of(Options)
    assert options.general is not None
    read = load_corpus(options.general, spec.data, revision=options.general_revision)
    unique = without_duplicates(read)
    clean = without_held_out_text(unique, held_out(dataset))
    if len({example.key for example in clean}) < 2:
        raise DataError(
            f"{units.plural(len(clean), 'general text')} left of {len(read)}",
            why="One part is held out for scoring, so at least two different texts are needed. "
            "Repeated texts and those that quote the task's validation or test rows are left out.",
            fix="Name more general text with --general.",
            where=options.general,
        )
    most = max(_FEWEST, len(dataset.splits["train"]))
    return divided(clean, spec.data.split_seed, most, leaked=len(unique) - len(clean))


def divided(examples: Iterable[Example], seed: int, most: int, leaked: int = 0) -> GeneralText:
    """Hold back a few texts by the hash of what they ask; the rest, ``most`` at most, is replayed.

    Rows that ask the same stay together, and what quotes a held-back text is not replayed.
    """
    from sweeper.data.corpus import without_held_out_text

    ordered = sorted(examples, key=lambda e: (digest(f"{seed}:{e.key}"), e.content_hash()))
    keys = list(dict.fromkeys(example.key for example in ordered))
    chosen = set(keys[: max(1, min(HELD_BACK, len(keys) // _SHARE))])
    firsts = {example.key: example for example in reversed(ordered) if example.key in chosen}
    held = tuple(firsts[key] for key in keys if key in chosen)
    rest = tuple(example for example in ordered if example.key not in chosen)
    replay = without_held_out_text(rest, held)[:most]
    sha = hashlib.sha256()
    for part in (held, replay):
        sha.update(f"{len(part)}\n".encode())
        for example in part:
            sha.update(example.content_hash().encode())
    return GeneralText(replay, held, leaked, sha.hexdigest())


def own_text_folder(facts: ModelFacts, weights: Path, sampling: SelfSampling) -> Path:
    """Its folder in the cache, whether it is there or not."""
    parts = {
        "sampling": asdict(sampling),
        "model": [facts.id, facts.revision],
        "weights": weights_state(weights),
    }
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]
    return home() / FOLDER / digest


def has_written(facts: ModelFacts) -> bool:
    """Whether the base wrote such text for an earlier run."""
    if facts.folder is None:
        return False
    return own_text_folder(facts, Path(facts.folder), SelfSampling()).is_dir()
