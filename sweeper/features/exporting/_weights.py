"""Copies the kept weights of a trial as a model or as an adapter for PEFT, and uploads them.

A run from someone else may contain links to other files, or a secret in its tokenizer or template.
Neither may be copied or uploaded.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sweeper.artifact import Artifact
from sweeper.data.private import PERSONAL, private_in
from sweeper.errors import UsageError
from sweeper.facts.models.packaged import packaged
from sweeper.facts.record import ModelFacts
from sweeper.findings.findings import Findings
from sweeper.plans import Plan
from sweeper.runfolder import RunFolder, check_regular
from sweeper.safe_text import clean
from sweeper.textfiles import read_json_object, replacing, write_text

# The file in a merged model's folder that says how it compares with the trial.
MERGE_RECORD = "merged.json"


class MergeRequest(Artifact):
    """The request to merge an adapter into its base. With its results it is ``merged.json``.

    Args:
        weights: The ``weights/`` folder of a trial.
        folder: The folder of the merged model, which appears once it is complete.
        chosen: What the model chooses at each compared place: a ``class`` or a ``token``.
        difference: The largest difference of a logit from the trial's; None before the merge.
        agreement: The share of places with the same likeliest choice as the trial's; None before.
    """

    weights: str
    folder: str
    chosen: str = "token"
    difference: float | None = None
    agreement: float | None = None

    @property
    def agreement_text(self) -> str:
        """The difference and the agreement in words."""
        places = "texts" if self.chosen == "class" else "positions"
        return (
            f"the most likely {self.chosen} is that of the trial at {self.agreement:.1%} of "
            f"{places}; a logit differs by at most {self.difference:.2g}"
        )


# In a folder of weights: the record of the training, and the card.
RECORD, CARD = "sweeper.json", "README.md"


@dataclass(frozen=True)
class KeptFiles:
    """The files of a weights folder.

    Args:
        record: The content of ``sweeper.json``.
        names: Files to copy, relative to the folder: the record, the files that it names, the card.
        left_out: Files that sweeper did not write, which are not copied.
    """

    record: dict[str, Any]
    names: tuple[str, ...]
    left_out: tuple[str, ...]


def kept_files(weights: Path) -> KeptFiles:
    """List the files of a weights folder.

    Raises:
        UsageError: The folder or an entry is a link, pipe or device, the record is damaged or names
            a missing file, or a text file seems to contain a secret.
    """
    check_regular(weights.parent)
    files = {path.relative_to(weights).as_posix() for path in weights.rglob("*") if path.is_file()}
    try:
        record = read_json_object(weights / RECORD)
    except (OSError, ValueError) as error:
        raise _damaged_error(weights, f"{RECORD} cannot be read: {error}") from error
    listed = record.get("files")
    if not isinstance(listed, list) or not listed:
        raise _damaged_error(weights, f"{RECORD} names no files.")
    listed_names = {str(name) for name in listed}
    if missing := sorted(listed_names - files):
        raise _damaged_error(weights, f"{missing[0]} is missing.")
    names = files & {*listed_names, RECORD, CARD}
    for name in sorted(name for name in names if not name.endswith(".safetensors")):
        text = (weights / name).read_text(encoding="utf-8", errors="replace")
        if secrets := [kind for kind in private_in(text) if kind not in PERSONAL]:
            raise UsageError(
                f"this file contains what looks like a secret: {', '.join(secrets)}",
                why="Whoever gets the model gets it, too.",
                fix="Remove it from the file, and revoke it if others had the file.",
                where=str(weights / name),
            )
    return KeptFiles(record, tuple(sorted(names)), tuple(sorted(files - names)))


def templates(folder: Path) -> Environment:
    """The Jinja templates of a folder; their values are not escaped."""
    environment = Environment(
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters |= {"json": json.dumps, "py": repr}
    return environment


def card(template: str, **values: object) -> str:
    """A card from ``_cards/``, without secrets and host names."""
    folder = templates(Path(__file__).parent / "_cards")
    return clean(folder.get_template(f"{template}.md.jinja").render(values))


def _damaged_error(weights: Path, why: str) -> UsageError:
    return UsageError(
        "this folder of trained weights is damaged",
        why=why,
        fix="Copy the whole weights/ folder of the trial again.",
        where=str(weights),
    )


# The files of an adapter in PEFT.
_ADAPTER, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# Strategies whose adapters give the trial's answers in PEFT alone.
_PEFT_STRATEGIES = ("lora", "qlora")
_TOKENIZER_FILES = (
    *("tokenizer*", "special_tokens_map.json", "vocab*", "merges.txt", "chat_template.jinja"),
)


def must_be_new(folder: Path) -> None:
    """Check that a folder does not exist, and make its parents.

    Raises:
        UsageError: The folder exists.
    """
    if folder.exists():
        raise UsageError(
            "the folder exists",
            fix="Delete it, or name another with --output.",
            where=str(folder),
            code="folder-exists",
        )
    folder.parent.mkdir(parents=True, exist_ok=True)


def facts_of(run: RunFolder, model: str) -> ModelFacts:
    """The facts of one of the run's models."""
    return next(facts for facts in Plan.read(run.plan).facts.models if facts.id == model)


def public_name(facts: ModelFacts) -> str:
    """The name of the base model for others: a hub id, or the name of a local folder.

    A packaged model has the name of the published one that it was made from.
    """
    if facts.source == "packaged":
        return packaged(facts.id).catalogue_id
    return Path(facts.id).name if facts.source == "local" else facts.id


def suggestion(findings: Findings, strategies: Sequence[str]) -> str:
    """A sentence that names the best completed trial of these strategies."""
    candidates = [trial for trial in findings.best_first() if trial.strategy.strategy in strategies]
    if not candidates:
        return "No completed trial of this run used one of these."
    best = candidates[0]
    return f"The best such trial is {best.number} ({best.strategy}): --trial {best.number}."


def copy_model(weights: Path, folder: Path) -> tuple[str, ...]:
    """Copy a trained model: a whole one as transformers reads it, or an adapter.

    In an adapter's configuration, the path of the base becomes its name.

    Returns:
        The files that were left out, since sweeper did not write them.

    Raises:
        UsageError: The run made the base model, so the copy would not load, or ``kept_files``
            refuses the folder.
    """
    kept = kept_files(weights)
    _must_have_a_published_base(weights, kept.record)
    must_be_new(folder)
    with replacing(folder) as temporary:
        _copy(weights, kept.names, temporary)
        if _ADAPTER in kept.names:
            config = read_json_object(temporary / _ADAPTER)
            if Path(str(config["base_model_name_or_path"])).is_absolute():
                config["base_model_name_or_path"] = kept.record["base_model"]
            write_text(temporary / _ADAPTER, json.dumps(config, indent=2, sort_keys=True) + "\n")
    return kept.left_out


def copy_adapter(weights: Path, folder: Path, findings: Findings, facts: ModelFacts) -> None:
    """Copy an adapter so that PEFT alone loads it on the published base.

    Raises:
        UsageError: PEFT would not give the trial's answers, the run made the base model, or
            ``kept_files`` refuses the folder.
    """
    kept = kept_files(weights)
    record = kept.record
    strategy = str(record["strategy"])
    if record.get("pooling") is not None:
        raise UsageError(
            "PEFT does not load this classification head",
            why="The head has its own pooling and scaling.",
            fix="'sweeper export RUN --to model' gives a folder for sweeper.load.",
            where=str(weights),
        )
    if strategy not in _PEFT_STRATEGIES:
        raise UsageError(
            f"PEFT alone does not give the answers of this trial ({strategy})",
            fix=f"{suggestion(findings, _PEFT_STRATEGIES)} Or export to 'model', for sweeper.load.",
            where=str(weights),
        )
    _must_have_a_published_base(weights, record)
    adapter = weights if _ADAPTER in kept.names else weights / "adapter"
    base = public_name(facts)
    must_be_new(folder)
    with replacing(folder) as temporary:
        _copy(adapter, [_WEIGHTS], temporary)
        tokenizer = (
            name for name in kept.names for glob in _TOKENIZER_FILES if fnmatchcase(name, glob)
        )
        _copy(weights, tokenizer, temporary)
        config = read_json_object(adapter / _ADAPTER)
        config |= {"base_model_name_or_path": base, "revision": facts.revision}
        write_text(temporary / _ADAPTER, json.dumps(config, indent=2, sort_keys=True) + "\n")
        write_text(
            temporary / CARD,
            card("adapter", strategy=strategy, base=base, dtype=record["base_dtype"], facts=facts),
        )


def _copy(source: Path, names: Iterable[str], to: Path) -> None:
    for name in names:
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, to / name)


def _must_have_a_published_base(weights: Path, record: Mapping[str, Any]) -> None:
    """Check that the run did not make the base model of these weights.

    Raises:
        UsageError: It did.
    """
    if record.get("base"):
        raise UsageError(
            "these weights need a base model that the run made, and that is in its folder",
            fix="'sweeper export RUN --to merged' writes a model that needs no other.",
            where=str(weights),
            code="base-in-run",
        )


# The name of a repository on the hub: OWNER/NAME.
_REPO = re.compile(r"[\w][\w.-]{0,95}/[\w][\w.-]{0,95}")
# The hub's name of a task, where it is not text-generation.
_PIPELINES = {"classification": "text-classification"}


def check_repo(repo: str) -> None:
    """Refuse an invalid name of a repository.

    Raises:
        UsageError: The name is not OWNER/NAME.
    """
    if not _REPO.fullmatch(repo):
        raise UsageError(
            f"expected OWNER/NAME, got {repo!r}",
            fix="For example --repo my-team/support-intents.",
            where="--repo",
        )


def hub_card(
    readme: str, draft: str, facts: ModelFacts, task: str, library: str, licence: str | None
) -> str:
    """The card of a repository: metadata for the hub, the model's card, and the sweep's figures.

    Args:
        readme: The card in the folder of the weights.
        draft: ``MODEL_CARD.md`` of the run; may be empty.
        library: The library that loads the folder: ``transformers``, ``peft`` or ``sweeper``.
        licence: The hub's name of a licence; the base model's if None.

    Raises:
        UsageError: The licence is not known.
    """
    licence = licence or facts.license
    if licence is None:
        raise UsageError(
            f"the licence of {facts.id} is not known",
            why="The licence of the base decides how a model may be shared.",
            fix="Look it up, and name it as the hub does: --license apache-2.0.",
            where="--license",
        )
    fields: dict[str, Any] = {
        "license": licence,
        "library_name": library,
        "pipeline_tag": _PIPELINES.get(task, "text-generation"),
        "tags": ["sweeper"],
    }
    if facts.source in ("hub", "catalogue", "packaged"):
        fields["base_model"] = public_name(facts)
        fields["base_model_relation"] = "adapter" if library == "peft" else "finetune"
    metadata = [f"{key}: {json.dumps(value)}" for key, value in fields.items()]
    if readme.startswith("---\n"):
        readme = readme.split("---\n", 2)[-1]
    body = draft.replace(": draft of a model card", "").strip()
    demoted = re.sub(r"(?m)^#", "##", body)  # the page already has a title
    return clean("\n".join(["---", *metadata, "---", "", readme.strip(), "", demoted, ""]))


def upload_folder(folder: Path, repo: str, *, private: bool) -> str:
    """Create the repository if it does not exist, and upload the folder as one commit.

    Args:
        private: Whether a new repository is private; an existing one is not changed.

    Returns:
        The address of the repository.

    Raises:
        UsageError: The hub refuses, or cannot be reached.
    """
    from huggingface_hub import HfApi, constants

    api = HfApi()
    try:
        address = api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=folder, commit_message="Model from a sweep")
    except Exception as error:  # also those of the client's network library
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise UsageError(
            f"the upload failed: {reason[0]}",
            why="It needs the network, and a token that may write to this repository.",
            fix="Check HF_ENDPOINT, set HF_TOKEN or log in with `hf auth login`, and try again: "
            "uploaded files are kept.",
            where=f"{constants.ENDPOINT}/{repo}",
        ) from error
    return str(address)
