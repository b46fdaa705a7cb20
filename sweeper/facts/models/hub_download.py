"""Downloads from the model hub into the hub's own cache: a configuration, or a whole model.

Weights are in safetensors format; files that could run code are not downloaded. Import this module
only to download, as loading the hub's client is slow.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from huggingface_hub import constants, hf_hub_download, snapshot_download

from sweeper.data.hub_client import TIMEOUT_SECONDS, answer_in_time, progress_class, refusal
from sweeper.errors import ModelError, Problem
from sweeper.facts.models.model_folder import has_weights
from sweeper.spec import ModelSpec

FILE_PATTERNS = (
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
"""Patterns of the files that training reads: configuration, tokenizer, weights, pooling, card."""

CODE_PATTERN = "*.py"
"""Downloaded only if the user trusts the model's code (``trust_remote_code``)."""


def fetch_config(model_id: str, revision: str | None) -> Path | Problem:
    """The snapshot folder with the model's ``config.json``, or the problem.

    The hub is asked even if the file is in the cache.
    """
    return answer_in_time(lambda: _request(model_id, revision), TIMEOUT_SECONDS)


def _request(model_id: str, revision: str | None) -> Path | Problem:
    try:
        path = hf_hub_download(
            model_id,
            "config.json",
            revision=revision,
            etag_timeout=TIMEOUT_SECONDS,
            force_download=True,
            tqdm_class=progress_class(lambda _done, _of: None),
        )
    except Exception as error:  # noqa: BLE001 - also the errors of the client's network library
        return refusal(error, model_id, revision, "model")
    return Path(path).parent


def download(spec: ModelSpec, tell: Callable[[int, int], None] = lambda _done, _of: None) -> Path:
    """Download missing files of a hub model; returns its folder on this machine.

    An interrupted download is continued.

    Args:
        tell: Called with the downloaded and the total megabytes, from any thread.

    Raises:
        ModelError: It cannot be downloaded, or has no weights in safetensors format.
    """
    patterns = [*FILE_PATTERNS, CODE_PATTERN] if spec.trust_remote_code else list(FILE_PATTERNS)
    try:
        folder = snapshot_download(
            spec.id,
            revision=spec.revision,
            allow_patterns=patterns,
            tqdm_class=progress_class(tell),
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
            code="unsafe-weights",
        )
    return Path(folder)
