"""Reads small untrusted text files: only regular files of limited size."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

MOST_BYTES = 256 * 2**20
"""Far beyond any configuration of a model or file of a run, and less than any machine's memory."""


def read_text(path: Path, errors: str = "strict") -> str:
    """The text of a UTF-8 file; ``errors`` as for ``bytes.decode``.

    A pipe would keep its reader waiting for ever, and a device such as ``/dev/zero`` never ends.

    Raises:
        OSError: It cannot be read, is no regular file, or is too large.
        UnicodeDecodeError: It is not UTF-8.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise OSError(errno.EINVAL, f"larger than {MOST_BYTES >> 20} MiB", str(path))
    return content.decode("utf-8", errors).replace("\r\n", "\n")
