"""Downloads from the model hub into the hub's own cache: a configuration, or a whole model.

Weights come in safetensors, and nothing that could run code. Import it only where the cache lacks
something: the hub's client takes a third of the time that a plan may take.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from huggingface_hub import constants, hf_hub_download, snapshot_download

from sweeper.data.hub_client import SECONDS, answer_of, bar, refusal
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


def fetch_config(model_id: str, revision: str | None) -> Path | Problem:
    """The folder of a snapshot with the model's ``config.json``, or the reason for none.

    The hub is asked even if the file is in the cache.
    """
    return answer_of(lambda: _request(model_id, revision), SECONDS)


def _request(model_id: str, revision: str | None) -> Path | Problem:
    try:
        path = hf_hub_download(
            model_id,
            "config.json",
            revision=revision,
            etag_timeout=SECONDS,
            force_download=True,
            tqdm_class=bar(lambda _done, _of: None),
        )
    except Exception as error:  # noqa: BLE001 - also the errors of the client's network library
        return refusal(error, model_id, revision, "model")
    return Path(path).parent


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
            spec.id, revision=spec.revision, allow_patterns=wanted, tqdm_class=bar(tell)
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
