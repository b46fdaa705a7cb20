"""Downloads from the model hub into the hub's own cache: a configuration, or a whole model.

Weights come in safetensors, and nothing that could run code. Import it only where the cache lacks
something: the hub's client takes a third of the time that a plan may take.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import constants, hf_hub_download, snapshot_download
from huggingface_hub.utils.tqdm import tqdm

from sweeper.errors import ModelError, Problem
from sweeper.facts.models.model_folder import has_weights
from sweeper.spec import ModelSpec

FILES = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "vocab*",
    "merges.txt",
    "*.model",
    "spm*",
    "1_Pooling/config.json",
    "modules.json",
    "README.md",
)
"""Configuration, tokenizer, weights, pooling and model card: what training reads."""

CODE = "*.py"
"""Fetched only for models that the user has allowed to bring code of their own."""


SECONDS = 4.0
"""How long a plan waits for the hub, name look-up included. A person waits that long once."""


def fetch_config(model_id: str, revision: str | None) -> Path | Problem:
    """The folder of a snapshot with the model's ``config.json``, or the reason for none.

    The hub is asked even if the file is in the cache.
    """
    answers: list[Path | Problem] = []
    # A thread, since a name look-up cannot be given a time limit.
    thread = threading.Thread(
        target=lambda: answers.append(_request(model_id, revision)), daemon=True
    )
    thread.start()
    thread.join(SECONDS)
    if answers:
        return answers[0]
    return Problem(f"the hub did not answer within {SECONDS:g} seconds", where=constants.ENDPOINT)


def _request(model_id: str, revision: str | None) -> Path | Problem:
    try:
        path = hf_hub_download(
            model_id,
            "config.json",
            revision=revision,
            etag_timeout=SECONDS,
            force_download=True,
            tqdm_class=_telling(lambda _done, _of: None),
        )
    except Exception as error:  # noqa: BLE001 - also the errors of the client's network library
        cause = error.__cause__ or error
        response = getattr(cause, "response", None)
        if response is not None:
            return _refusal(model_id, revision, response)
        return Problem(f"the hub cannot be reached ({cause})", where=constants.ENDPOINT)
    return Path(path).parent


def _refusal(model_id: str, revision: str | None, response: Any) -> Problem:
    page = f"{constants.ENDPOINT}/{model_id}"
    code = response.headers.get("X-Error-Code", "")
    if code == "GatedRepo" or response.status_code == 403:
        return Problem(
            "the model is gated: its licence must be accepted first",
            fix=f"Accept it at {page}, then set HF_TOKEN or log in with `hf auth login`.",
            where=page,
        )
    if response.status_code == 401:
        return Problem(
            "the hub does not give this model to you: it is private, gated, or does not exist",
            fix=f"Check the id; see {page}; then set HF_TOKEN or log in with `hf auth login`.",
            where=page,
        )
    if code == "RevisionNotFound":
        return Problem(f"the model has no revision {revision!r}", where=page)
    if code == "EntryNotFound":
        return Problem("the repository has no config.json: it is not a model", where=page)
    if response.status_code == 404:
        return Problem("the hub has no such model", fix="Check the id.", where=page)
    return Problem(f"the hub answered {response.status_code} {response.reason_phrase}", where=page)


def download(spec: ModelSpec, tell: Callable[[int, int], None] = lambda _done, _of: None) -> Path:
    """The folder of a hub model on this machine, after downloading what is missing.

    Interrupted downloads go on where they stopped.

    Args:
        tell: Called with the megabytes so far and in total, from any thread.

    Raises:
        ModelError: It cannot be had, or has no weights in safetensors format.
    """
    wanted = [*FILES, CODE] if spec.trust_remote_code else list(FILES)
    try:
        folder = snapshot_download(
            spec.id,
            revision=spec.revision,
            allow_patterns=wanted,
            tqdm_class=_telling(tell),
        )
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise ModelError(
            f"{spec.id} cannot be downloaded: {reason}",
            fix=f"Accept its licence at {constants.ENDPOINT}/{spec.id} if it has one, "
            "set HF_TOKEN, check the network and the disk, and try again.",
            where="model",
        ) from error
    if not has_weights(Path(folder)):
        raise ModelError(
            f"{spec.id} has no weights in safetensors format",
            why="Other formats can run code when they are opened, so they are not loaded.",
            fix="Choose another revision, or convert it and name the folder.",
            where="model",
        )
    return Path(folder)


def _telling(tell: Callable[[int, int], None]) -> type[tqdm]:
    """A progress bar for the hub that reports bytes instead of drawing."""

    class Telling(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            self._bytes = options.get("unit") == "B"  # another one counts files
            options["disable"] = True
            super().__init__(*args, **options)  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> bool | None:
            self.n += n or 0
            if self._bytes and self.total:
                tell(round(self.n / 1e6), round(self.total / 1e6))
            return None

    return Telling
