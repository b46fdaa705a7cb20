"""Base models that features, such as continued pretraining, make before trials.

These bases are kept in the cache and in the folders of runs that use them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from pathlib import Path

from sweeper.cache import home, make_once
from sweeper.errors import UsageError
from sweeper.features import parts
from sweeper.textfiles import read_text, write_text
from sweeper.training.base_model.base_lender import BaseLender
from sweeper.training.base_model.context import ModelContext
from sweeper.trials import BaseRef, PreparedBase, TrialConfig

# Folder of such bases, in the cache and in a run's folder.
FOLDER = "bases"
# Folder in the cache with the path of each local base model, by ``base_state``.
_LOCAL_PATHS = "local-bases"
# Bytes read at each end of a file for the digest that identifies a version of a model.
_DIGEST_BYTES = 1 << 20


class Bases:
    """The bases that features make of one base model, and on which trials train instead.

    Only the base of the last trial is held in memory.
    """

    def __init__(self, context: ModelContext) -> None:
        self.context = context
        self._makers = [(feature, prepare(self)) for feature, prepare in parts.PREPARE.all()]
        self._current: tuple[Path, BaseLender] | None = None

    def of(self, config: TrialConfig, micro_batch: int) -> PreparedBase | None:
        """The base of a trial, made now if necessary; None for the model's own base.

        Raises:
            UsageError: The base cannot be made.
            Interrupted: The trial was told to stop.
            TrainingDiverged: A loss is not finite.
        """
        for feature, make in self._makers:
            if (prepared := make(config, micro_batch)) is not None:
                name = prepared.folder.relative_to(home()).as_posix()
                return PreparedBase(
                    base=BaseRef(folder=name, state=base_state(prepared.folder)),
                    feature=feature,
                    record=prepared.record.model_dump(mode="json"),
                    seconds=prepared.seconds,
                )
        if self.context.device.type == "cuda":
            self.release()  # one base at a time on a GPU
        return None

    def base_lender(self, base: BaseRef, folder: Path | None = None) -> BaseLender:
        """The object that loads this base once and lends it to trials; other bases are released.

        Args:
            folder: Folder of the base; its folder in the cache if None.
        """
        folder = folder or home() / base.folder
        if self._current is None or self._current[0] != folder:
            self.make_room()
            context = self.context
            # PEFT writes this name into an adapter: the path of its base within the run's folder.
            name = f"./{base.folder}"  # "a/b" would be a name on the hub
            kind, fused = context.task.task_type, context.base_lender.fused_kernels
            base_lender = BaseLender(folder, kind, context.device, name=name, fused_kernels=fused)
            self._current = folder, base_lender
        return self._current[1]

    def make_room(self) -> None:
        """Release the base of the last trial and, on a GPU, the model's own base, too."""
        self.release()
        if self.context.device.type == "cuda":
            self.context.base_lender.release()

    def release(self) -> None:
        """Release the base of the last trial, not the model's own."""
        if self._current is not None:
            self._current[1].release()
            self._current = None


def keep_in(run: Path, base: BaseRef) -> None:
    """Link a base's files into a run's folder, for the adapters that were trained on the base.

    If the run is on another file system than the cache, the files are copied.
    """
    make_once(run / base.folder, lambda empty: _link_all(home() / base.folder, empty))


def find_base(base: BaseRef, weights: Path) -> Path:
    """The folder of the base that weights were trained on: in their run or in the cache.

    Args:
        weights: ``weights/`` of a trial.

    Raises:
        UsageError: The base is in neither, or its folder holds another base.
    """
    for root in (home(), *weights.resolve().parents):
        if (folder := root / base.folder).is_dir() and base_state(folder) == base.state:
            return folder
    raise UsageError(
        f"the base {base.folder} of these weights is missing",
        why="These weights are an adapter, and its base was made before it was trained.",
        fix="Put that folder into the run's folder, next to trials/.",
        where=str(weights),
    )


def _link_all(source: Path, folder: Path) -> None:
    """Hard-link all files into another folder; copy those that cannot be linked."""
    for file in source.iterdir():
        try:
            os.link(file, folder / file.name)
        except OSError:
            shutil.copy2(file, folder / file.name)


def remember_folder(folder: Path) -> str:
    """Store the absolute path of a local base model, since weights record only its name.

    Returns:
        The ``base_state`` of the folder.
    """
    state = base_state(folder)
    with contextlib.suppress(OSError):  # the base can still be found in the working directory
        write_text(home() / _LOCAL_PATHS / state, str(folder.resolve()), synced=False)
    return state


def local_base(name: str, state: str) -> Path:
    """The folder of a local base model: its stored path, or its name in the working directory."""
    with contextlib.suppress(OSError, ValueError):
        if (folder := Path(read_text(home() / _LOCAL_PATHS / state))).is_dir():
            return folder
    return Path(name)


def base_state(folder: Path) -> str:
    """The SHA-256 of the names, sizes and both ends of a base model's safetensors files.

    This takes milliseconds for files of many GB. Training changes all layers, so the ends change
    too.
    """
    sha = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        sha.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            sha.update(file.read(_DIGEST_BYTES))
            file.seek(max(0, size - _DIGEST_BYTES))
            sha.update(file.read(_DIGEST_BYTES))
    return sha.hexdigest()
