"""Downloads one model from the hub into the hub's own cache: weights in safetensors, nothing that
could run code. The one place here that needs huggingface_hub, imported only when a run begins.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.utils.tqdm import tqdm

from sweeper.errors import ModelError
from sweeper.facts.hub import cache_folder, endpoint, token
from sweeper.facts.modelfolder import has_weights
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


def download(spec: ModelSpec, tell: Callable[[int, int], None] = lambda _done, _of: None) -> Path:
    """The folder of a hub model on this machine, downloaded as far as it is not there yet.

    Interrupted downloads go on where they stopped.

    Args:
        spec: The model.
        tell: Told how many megabytes are here and how many there will be, from any thread.

    Raises:
        ModelError: It cannot be had, or has no weights in safetensors format.
    """
    wanted = [*FILES, CODE] if spec.trust_remote_code else list(FILES)
    try:
        folder = snapshot_download(
            spec.id,
            revision=spec.revision,
            cache_dir=cache_folder(),
            endpoint=endpoint(),
            token=token() or False,
            allow_patterns=wanted,
            tqdm_class=_telling(tell),
        )
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise ModelError(
            f"{spec.id} cannot be downloaded: {reason}",
            fix=f"Accept its licence at {endpoint()}/{spec.id} if it has one, set HF_TOKEN, "
            "check the network and the disk, and try again.",
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
    """A bar for the hub that draws nothing and passes on the bytes that it counts."""

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
