"""What tokenising did to the examples, as the workers noted it: cut, shortened or left out."""

from __future__ import annotations

from sweeper.data.examples import SPLITS
from sweeper.findings.study.reading import RunFiles
from sweeper.trials import EncodingNote


def encoding_notes(run: RunFiles) -> tuple[EncodingNote, ...]:
    """Every note once, split by split; the test split's once it was opened."""
    found = [note for trial in run.trials if trial.result for note in trial.result.notes]
    found += [note for score in (run.seal.scores if run.seal else ()) for note in score.notes]
    once = dict.fromkeys(found)
    return tuple(sorted(once, key=lambda note: (SPLITS.index(note.split), note.kind)))
