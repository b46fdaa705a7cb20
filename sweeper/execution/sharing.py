"""What a worker on another machine must see of a run: its folder, its data, the same storage.

The command leaves word in the study; a worker that joins checks it before it touches a trial, so
that no result is written where nobody reads it.
"""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path

import optuna

from sweeper.artifact import write_text
from sweeper.errors import Problem, RunError
from sweeper.runfolder import RunFolder
from sweeper.search.storage import kind_of
from sweeper.search.study import SPEC
from sweeper.spec import Spec

DIRECTORY = "sweeper:directory"
MARK = "sweeper:mark"
_MARK_FILE = ".mark"


def publish(run: RunFolder, study: optuna.Study) -> None:
    """Leave in the study where the command was given, and a mark that lies in the run's folder."""
    mark = uuid.uuid4().hex
    write_text(run.path / _MARK_FILE, mark)
    study.set_user_attr(DIRECTORY, str(Path.cwd()))
    study.set_user_attr(MARK, mark)


def check(run: RunFolder, study: optuna.Study, storage_url: str) -> None:
    """See whether this machine can work for the run, from the command's directory where it is.

    Raises:
        RunError: With all that cannot be seen from here.
    """
    directory = Path(study.user_attrs.get(DIRECTORY, ""))
    if directory.is_absolute() and directory.is_dir():
        os.chdir(directory)  # paths in the spec may be relative to it
    spec = Spec.from_json(study.user_attrs[SPEC])
    problems = [*_folder(run, study), *_storage(spec, storage_url), *_data(spec)]
    if problems:
        raise RunError(problems)


def _folder(run: RunFolder, study: optuna.Study) -> list[Problem]:
    mark = run.path / _MARK_FILE
    if not run.plan.exists():
        what = f"the run's folder cannot be seen from {socket.gethostname()}"
    elif run.path.resolve().name != study.study_name:
        what = f"this folder belongs to another run than {study.study_name!r}"
    elif not mark.is_file() or mark.read_text(encoding="utf-8") != study.user_attrs.get(MARK):
        what = "this folder is a copy of the run's folder, or of an earlier call's"
    else:
        return []
    return [
        Problem(
            what,
            "Workers read the plan from it and write results and weights into it.",
            "Share the folder itself between the machines (NFS or the like), and give its path "
            "here with --run.",
            str(run.path),
        )
    ]


def _storage(spec: Spec, url: str) -> list[Problem]:
    theirs = kind_of(spec.search.storage or "sqlite:")
    if kind_of(url) == theirs:
        return []
    return [
        Problem(
            f"the run's command uses another storage: {theirs}",
            f"Through {kind_of(url)} this worker would not see the others' locks.",
            "Give the same --storage as 'sweeper run'.",
            "--storage",
        )
    ]


def _data(spec: Spec) -> list[Problem]:
    data = spec.data
    named = {"data": data.path, "validation": data.validation, "test": data.test}
    named |= {"corpus": data.corpus, "general": data.general}
    return [
        Problem(
            f"{path} cannot be seen from {socket.gethostname()}",
            "Each worker reads the data itself.",
            "Share it under the same path, or start 'sweeper run' with an absolute path that all "
            "machines have.",
            name,
        )
        for name, path in named.items()
        if path is not None and not Path(path).exists()
    ]
