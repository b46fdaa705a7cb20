"""Finds the command and the option that fix a data set."""

from __future__ import annotations

import time

from sweeper.data.prepared import prepared_data
from sweeper.data.problems import flags_of
from sweeper.errors import DataError, Problem, UsageError
from sweeper.features.quality._fix import fix_command
from sweeper.features.quality._kinds.base import kinds
from sweeper.features.quality.options import Options
from sweeper.spec import DataSpec, Spec

_MAX_SECONDS = 30
"""Seconds after which no further remedy is tried: an error should not take minutes."""

# The kinds of faults that need several remedies.
_REMEDIES_BY_KIND = {"rare-labels": ("label-variants", "misspelt-labels", "rare-labels")}


def mend_faults(data: DataSpec, kind: str) -> str:
    """The command that removes the faults of this kind."""
    remedies = ",".join(_REMEDIES_BY_KIND.get(kind, (kind,)))
    return fix_command(str(data.path), "--remedy", remedies, *flags_of(data, None))


def mend_error(spec: Spec, error: DataError) -> Problem | None:
    """The command and option of the first remedy that makes the data usable, if any.

    A remedy that leaves out more rows than it keeps is not offered.
    """
    if spec.features.of(Options) != Options() or spec.data.sources:
        return None
    deadline = time.monotonic() + _MAX_SECONDS
    unsafe = [
        item.name
        for item in kinds().values()
        if item.has_remedy and not (item.safe or item.uses_model)
    ]
    for name in (None, *unsafe):  # None: all safe remedies at once
        if time.monotonic() > deadline:
            break
        options = Options(remedies=(name,)) if name else Options(all_safe=True)
        features = spec.features.model_copy(update={"quality": options})
        try:
            data = prepared_data(spec.model_copy(update={"features": features}))
        except (DataError, UsageError):
            continue
        if sum(item.action == "removed" for item in data.changes) > data.dataset.rows:
            continue
        remedy = ("--remedy", name) if name else ("--all-safe",)
        path = str(spec.data.path)
        command = fix_command(path, *remedy, *flags_of(spec.data, spec.task))
        option = f"--set 'features.quality.remedies=[{name}]'" if name else "--fix"
        fix = f"Write a new data set: {command}\nOr go on with {option}"
        return Problem("a remedy makes the data usable", fix=fix)
    return None
