"""Ids, time limits and refusals of the Hugging Face hub, for models and data sets.

The hub's client is imported only in functions, as it takes a third of the time that a plan may.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from sweeper.errors import Problem

TIMEOUT_SECONDS = 4.0
"""Time limit of one request to the hub."""

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")

Answer = TypeVar("Answer")

OnDownload = Callable[[int, int], None]
"""Called with the downloaded and the total megabytes, from any thread."""


def is_hub_id(name: str) -> bool:
    """Whether this can be the id of a repository of the hub: ``name`` or ``owner/name``."""
    return bool(_HUB_ID.fullmatch(name)) and ".." not in name


def answer_in_time(ask: Callable[[], Answer], seconds: float) -> Answer | Problem:
    """The hub's answer, or a problem if none came within ``seconds``."""
    answers: list[Answer] = []
    # In a thread, as the client sets no time limit for looking up the host's name.
    thread = threading.Thread(target=lambda: answers.append(ask()), daemon=True)
    thread.start()
    thread.join(seconds)
    if answers:
        return answers[0]
    return Problem(f"the hub did not answer within {seconds:g} seconds", where=_endpoint())


def _endpoint() -> str:
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def switched_off(where: str) -> Problem | None:
    """A problem if the user's settings forbid the use of the hub, else None."""
    from huggingface_hub import constants

    if not constants.HF_HUB_OFFLINE:
        return None
    why = "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set."
    return Problem("the hub is switched off", why, where=where)


def refusal(error: BaseException, repository: str, revision: str | None, what: str) -> Problem:
    """Why the hub refuses a repository, from the error of its client.

    Args:
        what: ``model`` or ``data set``.
    """
    cause = error.__cause__ or error
    response: Any = getattr(cause, "response", None)
    if response is None:
        return Problem(f"the hub cannot be reached ({cause})", where=_endpoint())
    folder = "" if what == "model" else "datasets/"
    page = f"{_endpoint()}/{folder}{repository}"
    code = response.headers.get("X-Error-Code", "")
    if code == "GatedRepo" or response.status_code == 403:
        return Problem(
            f"the {what} is gated: its licence must be accepted first",
            fix=f"Accept it at {page}, then set HF_TOKEN or log in with `hf auth login`.",
            where=page,
        )
    if response.status_code == 401:
        return Problem(
            f"the hub does not give this {what} to you: it is private, gated, or does not exist",
            fix=f"Check the id; see {page}; then set HF_TOKEN or log in with `hf auth login`.",
            where=page,
        )
    if code == "RevisionNotFound":
        return Problem(f"the {what} has no revision {revision!r}", where=page)
    if code == "EntryNotFound" and what == "model":
        return Problem("the repository has no config.json: it is not a model", where=page)
    if response.status_code == 404:
        return Problem(f"the hub has no such {what}", fix="Check the id.", where=page)
    return Problem(f"the hub answered {response.status_code} {response.reason_phrase}", where=page)


def progress_class(progress: OnDownload) -> type:
    """A progress class for the hub's client that calls ``progress`` in place of a bar."""
    from huggingface_hub.utils.tqdm import tqdm

    class MegabyteProgress(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            self._counts_bytes = options.get("unit") == "B"  # other bars count files
            options["disable"] = True
            super().__init__(*args, **options)  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> bool | None:
            self.n += n or 0
            if self._counts_bytes and self.total:
                progress(round(self.n / 1e6), round(self.total / 1e6))
            return None

    return MegabyteProgress
