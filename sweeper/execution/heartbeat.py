"""Keeps a lease alive while its holder is busy. Knows nothing about the work."""

from __future__ import annotations

import threading
from types import TracebackType

from optuna.exceptions import StorageInternalError

from sweeper.execution.claims import Claim

# A lease is renewed several times before anyone may take it for dead (LEASE_SECONDS).
HEARTBEAT_SECONDS = 10.0


class Heartbeat:
    """Renews a claim from a thread, for as long as the ``with`` block runs.

    The block must end before the claim is finished or put back, so that no beat comes after.
    """

    def __init__(self, claim: Claim, every: float = HEARTBEAT_SECONDS) -> None:
        self._claim = claim
        self._every = every
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="heartbeat")

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._ended.wait(self._every):
            try:
                if not self._claim.renew():
                    return
            except StorageInternalError:
                continue  # the storage is away for a while; the next beat tries again
