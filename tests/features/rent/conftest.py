"""Plans for the tests."""

from scenes import scene  # noqa: F401 - fixtures
