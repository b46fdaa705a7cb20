"""A folder of trained weights as a repository of the hub, with its card; by huggingface_hub."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from sweeper.errors import UsageError
from sweeper.facts.models.packaged import PREFIX
from sweeper.facts.record import ModelFacts
from sweeper.features.exporting._weights import public_name
from sweeper.redaction import clean

# As the hub writes it: an owner and a name.
_REPO = re.compile(r"[\w][\w.-]{0,95}/[\w][\w.-]{0,95}")
_PIPELINES = {"classification": "text-classification"}


def check_repo(repo: str) -> None:
    """Refuse what cannot be the name of a repository.

    Raises:
        UsageError: It is not OWNER/NAME.
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
    """The card of a repository: metadata for the hub, and the figures of the sweep.

    Args:
        readme: The card in the folder of the weights.
        draft: ``MODEL_CARD.md`` of the run; may be empty.
        library: What loads the folder: ``transformers``, ``peft`` or ``sweeper``.
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
    if facts.source in ("hub", "catalogue") or facts.id.startswith(PREFIX):
        fields["base_model"] = public_name(facts)
        fields["base_model_relation"] = "adapter" if library == "peft" else "finetune"
    front = [f"{key}: {json.dumps(value)}" for key, value in fields.items()]
    if readme.startswith("---\n"):
        readme = readme.split("---\n", 2)[-1]
    body = draft.replace(": draft of a model card", "").strip()
    demoted = re.sub(r"(?m)^#", "##", body)  # since the page has a title already
    return clean("\n".join(["---", *front, "---", "", readme.strip(), "", demoted, ""]))


def upload(folder: Path, repo: str, *, private: bool) -> str:
    """Create the repository if it is not there, and put the folder into it as one commit.

    Args:
        private: Whether a new repository is private; an existing one is not changed.

    Returns:
        The address of the repository.

    Raises:
        UsageError: The hub refuses, or cannot be reached.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi()
    try:
        made = api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=folder, commit_message="Model from a sweep")
    except HfHubHTTPError as error:
        raise _refusal(error.response.status_code, repo, str(error)) from error
    except Exception as error:  # also the errors of the client's network library
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise UsageError(
            f"the upload failed: {reason[0]}",
            fix="Check the network and HF_ENDPOINT, and try again: uploaded files are kept.",
            where=constants.ENDPOINT,
        ) from error
    return str(made)


def _refusal(status: int, repo: str, text: str) -> UsageError:
    if status == 401:
        return UsageError(
            "the hub does not know who you are",
            why="Uploading needs a token that may write.",
            fix="Set HF_TOKEN, or log in with `hf auth login`.",
        )
    if status in (403, 404):
        fix = "Use a token with write access to that owner, or another owner."
        return UsageError(f"your token may not write to {repo}", fix=fix, where="--repo")
    why = text.strip().splitlines()[0]
    return UsageError(f"the hub answered {status}", why=why, fix="Try again.", where=repo)
