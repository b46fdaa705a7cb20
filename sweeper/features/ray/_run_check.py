"""Checks another machine before a worker starts there: run folder, data, base model, version.

The command writes a mark into the run's folder and sends it to each actor, so that no result is
written into another folder.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import sweeper
from sweeper.backend import TORCH_BACKEND
from sweeper.data.reading.files import hub_files, is_hub_data
from sweeper.errors import Problem, SweeperError
from sweeper.execution.job import Briefing
from sweeper.facts.models.model import model_folder
from sweeper.features import loader, parts
from sweeper.plans import Plan
from sweeper.runfolder import RunFolder
from sweeper.spec import DataSpec, Spec
from sweeper.textfiles import write_text

_MARK_FILE = ".mark"
_PACKAGED_PREFIX = "packaged:"
FIX = "Share it between the machines under the same path, or install it on each."


class RemoteBriefing(Briefing):
    """A briefing with the values that the worker's machine is checked against.

    Args:
        mark: Content of the mark file in the run's folder.
        directory: Working directory of the command: paths in the spec may be relative to it.
    """

    mark: str
    directory: str
    version: str


def mark_folder(run: RunFolder, briefing: Briefing) -> RemoteBriefing:
    """Mark the run's folder, so that other nodes recognise it; returns a briefing with the mark."""
    mark = uuid.uuid4().hex
    write_text(run.path / _MARK_FILE, mark)
    working_folder, version = str(Path.cwd()), sweeper.__version__
    return RemoteBriefing.taken_from(briefing, mark=mark, directory=working_folder, version=version)


def problems_here(run: RunFolder, briefing: RemoteBriefing) -> list[Problem]:
    """Why no worker can run on this machine; empty if it can.

    This process changes to the command's working directory, if the machine has it.
    """
    if Path(briefing.directory).is_dir():
        os.chdir(briefing.directory)
    problems = [*_version_problems(briefing), *_folder_problems(run, briefing)]
    if problems:
        return problems
    models = (
        _model_problems(Plan.read(run.plan), briefing.spec)
        if briefing.backend == TORCH_BACKEND
        else ()
    )
    return [*_data_problems(briefing.spec), *models]


def _version_problems(briefing: RemoteBriefing) -> Iterator[Problem]:
    if briefing.version != sweeper.__version__:
        version_text = f"{socket.gethostname()} has sweeper {sweeper.__version__}"
        yield Problem(version_text, f"The command is sweeper {briefing.version}.", FIX)


def _folder_problems(run: RunFolder, briefing: RemoteBriefing) -> Iterator[Problem]:
    mark = run.path / _MARK_FILE
    why = "Workers read the plan from it and write results and weights into it."
    if not run.plan.exists():
        what = f"the run's folder cannot be seen from {socket.gethostname()}"
        yield Problem(what, why, FIX, str(run.path))
    elif not mark.is_file() or mark.read_text(encoding="utf-8") != briefing.mark:
        what = "this folder is a copy of the run's folder, or of an earlier call's"
        yield Problem(what, why, FIX, str(run.path))


def _data_problems(spec: Spec) -> Iterator[Problem]:
    data = spec.data
    paths_by_name = {"data": data.path, "validation": data.validation, "test": data.test}
    paths_by_name |= {f"source {source.title}": source.path for source in data.sources}
    paths_by_name |= {part.option: part.path for part in parts.named_data(spec.features)}
    features_of_workers = {
        feature.name for part in ("rows", "trial") for feature in loader.features_with(part)
    }
    for (_, feature, key), flag in parts.flags().items():
        if flag.is_path and feature in features_of_workers:
            value = getattr(getattr(spec.features, feature), key)
            paths = value if isinstance(value, tuple) else (value,)
            paths_by_name |= {
                f"{feature}.{key}.{number}": path for number, path in enumerate(paths)
            }
    for name, path in paths_by_name.items():
        if path is None or Path(path).exists():
            continue
        data_spec = data if name == "data" else DataSpec(path=path)
        if is_hub_data(data_spec):
            try:
                hub_files(data_spec)  # fetches what is not on this machine yet
            except SweeperError as error:
                yield Problem(str(error), "Each worker reads the data itself.", FIX, name)
        else:
            what = f"{path} cannot be seen from {socket.gethostname()}"
            yield Problem(what, "Each worker reads the data itself.", FIX, name)


def _model_problems(plan: Plan, spec: Spec) -> Iterator[Problem]:
    used_ids = {candidate.model for candidate in plan.candidates}
    for model, facts in zip(spec.models, plan.facts.models, strict=True):
        if facts.id not in used_ids or model.id.startswith(_PACKAGED_PREFIX):
            continue
        try:
            folder = model_folder(model.id, facts.revision or model.revision)
        except SweeperError:
            folder = None
        if folder is None:
            what = f"the base model {model.id} is not on {socket.gethostname()}"
            yield Problem(what, "Each worker loads it itself.", FIX, "model")
