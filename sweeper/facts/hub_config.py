"""Fetches one ``config.json`` from the model hub, and says in words what kept it from coming.

Imported only where the cache does not have the model, since the network modules cost start-up.
"""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from urllib.parse import quote

from sweeper.errors import Problem
from sweeper.facts.hub import endpoint, is_offline, token

SECONDS = 4.0
"""How long a plan waits for the hub, name look-up included. A person waits that long once."""

_LARGEST_CONFIG = 1 << 20


@dataclass(frozen=True)
class Fetched:
    """A configuration and the commit that it belongs to, where the hub names it."""

    config: dict[str, object]
    commit: str | None


def fetch_config(model_id: str, revision: str | None) -> Fetched | Problem:
    """The configuration of a model on the hub, or why it cannot be had."""
    if is_offline():
        return Problem(
            "the hub is switched off",
            why="HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set.",
            where=model_id,
        )
    answers: list[Fetched | Problem] = []
    # A thread, since a name look-up cannot be given a time limit.
    thread = threading.Thread(
        target=lambda: answers.append(_request(model_id, revision)), daemon=True
    )
    thread.start()
    thread.join(SECONDS)
    if answers:
        return answers[0]
    return Problem(f"the hub did not answer within {SECONDS:g} seconds", where=endpoint())


def _request(model_id: str, revision: str | None) -> Fetched | Problem:
    url = f"{endpoint()}/{model_id}/resolve/{quote(revision or 'main', safe='')}/config.json"
    try:
        request = urllib.request.Request(url)
        if secret := token():
            # Not sent on to where a redirect leads.
            request.add_unredirected_header("Authorization", f"Bearer {secret}")
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            config = json.loads(response.read(_LARGEST_CONFIG))
            commit = response.headers.get("X-Repo-Commit")
    except urllib.error.HTTPError as error:
        return _refusal(model_id, revision, error)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return Problem(f"the hub cannot be reached ({reason})", where=endpoint())
    if not isinstance(config, dict):
        return Problem("the hub's config.json is not an object", where=url)
    return Fetched(config, commit)


def _refusal(model_id: str, revision: str | None, error: urllib.error.HTTPError) -> Problem:
    page = f"{endpoint()}/{model_id}"
    code = error.headers.get("X-Error-Code", "")
    if code == "GatedRepo" or error.code == 403:
        return Problem(
            "the model is gated: its licence must be accepted first",
            fix=f"Accept it at {page}, then set HF_TOKEN or log in with `hf auth login`.",
            where=page,
        )
    if error.code == 401:
        return Problem(
            "the hub does not give this model to you: it is private, gated, or does not exist",
            fix=f"Check the id; see {page}; then set HF_TOKEN or log in with `hf auth login`.",
            where=page,
        )
    if code == "RevisionNotFound":
        return Problem(f"the model has no revision {revision!r}", where=page)
    if code == "EntryNotFound":
        return Problem("the repository has no config.json: it is not a model", where=page)
    if error.code == 404:
        return Problem("the hub has no such model", fix="Check the id.", where=page)
    return Problem(f"the hub answered {error.code} {error.reason}", where=page)
