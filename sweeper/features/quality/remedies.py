"""The commands and options that mend a data set."""

from __future__ import annotations

import time

from sweeper.data.prepared import prepared_data
from sweeper.data.problems import flags_of
from sweeper.errors import DataError, Problem, UsageError
from sweeper.features.quality._fix import fix_command
from sweeper.features.quality._kinds.base import kinds
from sweeper.features.quality.options import Options
from sweeper.spec import DataSpec, Spec

_SECONDS_OF_TRIES = 30
"""No further remedy is tried after that long: an error should not take minutes."""

# The remedies of a kind of fault, where they are other ones than that of the same name.
_REMEDIES = {"rare-labels": ("label-variants", "misspelt-labels", "rare-labels")}


def mend_faults(data: DataSpec, kind: str) -> str:
    """The command that removes the faults of this kind."""
    remedies = ",".join(_REMEDIES.get(kind, (kind,)))
    return fix_command(str(data.path), "--remedy", remedies, *flags_of(data, None))


def mend_error(spec: Spec, error: DataError) -> Problem | None:
    """The command and the option that mend the data, if there are some: they were tried.

    A remedy that would leave out most rows is not offered.
    """
    if spec.features.of(Options) != Options() or spec.data.sources:
        return None
    until = time.monotonic() + _SECONDS_OF_TRIES
    others = [
        item.name for item in kinds().values() if item.mends and not (item.safe or item.uses_model)
    ]
    for name in ("", *others):
        asked = Options(remedies=(name,)) if name else Options(all_safe=True)
        if time.monotonic() > until:
            break
        features = spec.features.model_copy(update={"quality": asked})
        try:
            made = prepared_data(spec.model_copy(update={"features": features}))
        except (DataError, UsageError):
            continue
        if sum(item.action == "removed" for item in made.changes) > made.dataset.rows:
            continue
        remedy = ("--remedy", name) if name else ("--all-safe",)
        path = str(spec.data.path)
        command = fix_command(path, *remedy, *flags_of(spec.data, spec.task))
        here = f"--set 'features.quality.remedies=[{name}]'" if name else "--fix"
        fix = f"Write a new data set: {command}\nOr go on with {here}"
        return Problem("a remedy mends the data", fix=fix)
    return None
