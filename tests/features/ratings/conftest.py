"""A browser for the page for raters."""

from page_browser import browser  # noqa: F401 - a fixture
