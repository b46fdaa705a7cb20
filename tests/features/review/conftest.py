from collections.abc import Callable
from pathlib import Path

import pytest

from sweeper.features.review._record import Review
from sweeper.features.review._review import reviews


@pytest.fixture
def review(here: Path) -> Callable[..., Review]:
    """The review of a text, with flags by their keys in ``sweep.yaml``."""

    def made(text: str, name: str = "config.yaml", **flags: object) -> Review:
        Path(name).write_text(text)
        paths = {tuple(key.split("__")): value for key, value in flags.items()}
        return reviews(Path(name), paths)[0]

    return made
