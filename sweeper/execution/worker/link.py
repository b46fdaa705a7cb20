"""A worker's pipes to the command: a thread reads orders and sends heartbeats."""

from __future__ import annotations

import os
import queue
import selectors
import signal
import sys
import threading
from collections.abc import Callable
from typing import BinaryIO

from sweeper.execution.job import (
    Close,
    Heartbeat,
    Job,
    Message,
    RungAnswer,
    Stop,
    line_of,
    read_message,
)

# Interval of heartbeats: a twelfth of the silence after which a worker counts as dead
# (worker_states.py).
HEARTBEAT_SECONDS = min(10.0, float(os.environ.get("SWEEPER_SILENT_SECONDS", "120")) / 12)
# Interval at which a worker that waits for an answer resets its watchdog.
_WAIT_SECONDS = 1.0


class Link:
    """The connection to the command. A closed pipe means that the command is gone.

    Args:
        incoming: File descriptor of the pipe with orders.
        outgoing: The pipe for messages.
    """

    def __init__(self, incoming: int, outgoing: BinaryIO) -> None:
        self._incoming, self._outgoing = incoming, outgoing
        self._lock = threading.Lock()
        self._jobs: queue.Queue[Job | None] = queue.Queue()
        self._answers: queue.Queue[RungAnswer] = queue.Queue()
        self._stop = threading.Event()

    def listen(self) -> None:
        """Start to read orders. TERM counts as an order to stop; INT is ignored."""
        signal.signal(signal.SIGTERM, lambda _number, _frame: self._stop_work())
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=self._listen, daemon=True, name="orders").start()

    def say(self, message: Message) -> None:
        """Send a message.

        Raises:
            BrokenPipeError: The command is gone.
        """
        with self._lock:
            self._outgoing.write(line_of(message))
            self._outgoing.flush()

    def job(self) -> Job | None:
        """Wait for the next job; None if the worker is to end."""
        return None if self.stopping() else self._jobs.get()

    def answer(self, meanwhile: Callable[[], None]) -> RungAnswer | None:
        """Wait for the answer to a rung; None if the command is gone or orders to stop.

        Args:
            meanwhile: Called once a second, so that the watchdog does not take waiting for a hang.
        """
        while not self.stopping():
            try:
                return self._answers.get(timeout=_WAIT_SECONDS)
            except queue.Empty:
                meanwhile()
        return None

    def stopping(self) -> bool:
        """Whether the running job is to end at its next step. Cheap enough for every step."""
        return self._stop.is_set()

    def _stop_work(self) -> None:
        self._stop.set()
        self._jobs.put(None)

    def _listen(self) -> None:
        pending = b""
        with selectors.DefaultSelector() as ready:
            ready.register(self._incoming, selectors.EVENT_READ)
            while True:
                if not ready.select(HEARTBEAT_SECONDS):
                    self._send_heartbeat()
                    continue
                chunk = os.read(self._incoming, 65536)
                if not chunk:
                    return self._stop_work()
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    self._handle(line)

    def _handle(self, line: bytes) -> None:
        try:
            order = read_message(line)
        except ValueError as error:
            print(f"not an order: {error}", file=sys.stderr, flush=True)
            return
        if isinstance(order, Job):
            self._jobs.put(order)
        elif isinstance(order, RungAnswer):
            self._answers.put(order)
        elif isinstance(order, Stop):
            self._stop_work()
        elif isinstance(order, Close):
            self._jobs.put(None)

    def _send_heartbeat(self) -> None:
        try:
            self.say(Heartbeat())
        except (BrokenPipeError, ValueError):
            self._stop_work()
