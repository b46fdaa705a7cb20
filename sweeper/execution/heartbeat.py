"""Keeps a lease alive while its holder is busy. Knows nothing about the work."""

from __future__ import annotations

import threading
from types import TracebackType

from sweeper.execution.claims import Claim
from sweeper.execution.patience import StorageGone
from sweeper.execution.watch import LEASE_SECONDS

# A lease is renewed several times before anyone may take it for dead (LEASE_SECONDS).
HEARTBEAT_SECONDS = LEASE_SECONDS / 12


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
            except StorageGone:
                continue  # the storage was away for too long; the work itself will end by that
