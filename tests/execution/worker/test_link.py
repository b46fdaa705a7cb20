"""A worker's end of the pipe, against a command that is the test."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from sweeper.backend import Decision
from sweeper.execution.job import (
    Close,
    Heartbeat,
    Job,
    Message,
    Order,
    Ready,
    RungAnswer,
    Stop,
    line_of,
    read_message,
)
from sweeper.execution.worker import link as link_module
from sweeper.execution.worker.link import Link

JOB = Job(kind="baselines", name="baselines")


class Command:
    """The other end."""

    def __init__(self) -> None:
        self.closed: set[int] = set()
        theirs, self.orders = os.pipe()
        self.messages, ours = os.pipe()
        self._theirs, self._ours = theirs, os.fdopen(ours, "wb", buffering=0)
        self.link = Link(theirs, self._ours)

    def send(self, order: Order, *, pieces: int = 1) -> None:
        line = line_of(order)
        size = -(-len(line) // pieces)
        for start in range(0, len(line), size):
            os.write(self.orders, line[start : start + size])

    def hear(self) -> Message:
        line = b""
        while not line.endswith(b"\n"):
            line += os.read(self.messages, 1)
        return read_message(line)

    def leave(self) -> None:
        """End, as a command that is killed."""
        for end in {self.orders, self.messages} - self.closed:
            os.close(end)
            self.closed.add(end)

    def clean_up(self) -> None:
        """Close the worker's ends, too, once its thread does not look at them any more."""
        self.leave()
        for thread in threading.enumerate():
            if thread.name == "orders":
                thread.join(300)
        os.close(self._theirs)
        self._ours.close()


@pytest.fixture
def command() -> Iterator[Command]:
    before = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]
    made = Command()
    made.link.listen()
    yield made
    made.clean_up()
    for one, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
        signal.signal(one, handler)


def test_orders_arrive_whole_however_they_are_cut(command: Command) -> None:
    command.send(JOB, pieces=7)
    assert command.link.job() == JOB
    command.send(RungAnswer(decision=Decision.PRUNE, because="worse"), pieces=3)
    answer = command.link.answer(lambda: None)
    assert answer is not None
    assert (answer.decision, answer.because) == (Decision.PRUNE, "worse")


def test_two_orders_in_one_piece_are_two(command: Command) -> None:
    os.write(command.orders, line_of(JOB) + line_of(Close()))
    assert command.link.job() == JOB
    assert command.link.job() is None
    assert not command.link.stopping()  # what is under way ends well


def test_what_is_no_order_is_left_out(command: Command, capfd: pytest.CaptureFixture[str]) -> None:
    os.write(command.orders, b'{"kind": "dance"}\n\xff\n')
    command.send(JOB)
    assert command.link.job() == JOB
    assert "not an order" in capfd.readouterr().err


@pytest.mark.parametrize("how", ["stop", "gone", "term"])
def test_a_stop_a_vanished_command_and_term_end_the_job_and_the_wait(
    command: Command, how: str
) -> None:
    found: queue.Queue[object] = queue.Queue()
    threading.Thread(target=lambda: found.put(command.link.answer(lambda: None))).start()
    if how == "stop":
        command.send(Stop())
    elif how == "gone":
        command.leave()
    else:
        os.kill(os.getpid(), signal.SIGTERM)
    assert found.get(timeout=300) is None
    assert command.link.stopping()
    assert command.link.job() is None


def test_ctrl_c_is_the_commands_alone(command: Command) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    assert not command.link.stopping()


def test_who_waits_for_a_verdict_shows_that_it_does(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "_WAIT_SECONDS", 0.01)
    waited = threading.Event()
    answer = threading.Timer(
        0.0, lambda: waited.wait(300) and command.send(RungAnswer(decision="continue"))
    )
    answer.start()
    assert command.link.answer(waited.set) is not None
    answer.join()


def test_a_worker_of_which_nothing_else_is_heard_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "HEARTBEAT_SECONDS", 0.01)
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    command = Command()
    command.link.listen()
    try:
        assert command.hear() == Heartbeat()
        os.close(command.messages)
        command.closed.add(command.messages)
        while not command.link.stopping():  # nobody hears it: the command is gone
            time.sleep(0.01)
        assert command.link.job() is None
    finally:
        command.clean_up()
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])


def test_a_message_to_a_command_that_is_gone_is_a_broken_pipe(command: Command) -> None:
    command.leave()
    message: Message = Ready()
    with pytest.raises(BrokenPipeError):
        command.link.say(message)
