"""Reads small untrusted text files: only regular files of limited size."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

MAX_BYTES = 256 * 2**20
"""Larger than any configuration of a model or file of a run, smaller than any machine's memory."""


def read_text(path: Path, errors: str = "strict") -> str:
    """The text of a UTF-8 file; ``errors`` as for ``bytes.decode``.

    Pipes and devices are refused, since a pipe may block and ``/dev/zero`` never ends.

    Raises:
        OSError: The file cannot be read, is not regular, or is too large.
        UnicodeDecodeError: The file is not UTF-8.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise OSError(errno.EINVAL, f"larger than {MAX_BYTES >> 20} MiB", str(path))
    return content.decode("utf-8", errors).replace("\r\n", "\n")
