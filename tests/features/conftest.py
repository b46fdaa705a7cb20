"""Commands over the curve backend, for features that take part in a run."""

from __future__ import annotations

from commands import assert_whole, commands, workers_find_the_backend  # noqa: F401 - fixtures
