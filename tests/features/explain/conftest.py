"""Requests with their facts, for tests of the planner."""

from __future__ import annotations

from scenes import scene  # noqa: F401 - fixtures
