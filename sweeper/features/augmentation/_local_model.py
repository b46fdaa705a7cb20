"""A client of a base model in a process of its own, which answers one request at a time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os

from sweeper.child_process import child_command, request_line, thread_settings
from sweeper.errors import ModelError, Problem
from sweeper.features.augmentation._methods import ModelRequest, NoReply
from sweeper.features.augmentation._replies import Reply
from sweeper.jsontext import object_of
from sweeper.spec import ModelSpec

FUNCTION = "sweeper.features.augmentation._answer_requests:answer"
"""The function of the process: a request a line on standard input, a reply on standard output."""

_MAX_LINE_BYTES = 2**24
_NO_ANSWER = '{"problems": [{"what": "the model ended without an answer"}]}'


class LocalModel:
    """A client of the base model that ``--model`` names."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._one_at_a_time = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None

    async def ask(self, request: ModelRequest) -> Reply:
        """The reply to a request.

        Raises:
            NoReply: The model wrote nothing.
            ModelError: The model cannot be loaded.
        """
        turns = [{"role": m.role, "content": m.content} for m in request.messages]
        line = json.dumps({"messages": turns, "expected": request.expected})
        async with self._one_at_a_time:
            process = self._process = self._process or await self._start()
            assert process.stdin is not None
            assert process.stdout is not None
            with contextlib.suppress(OSError):  # the process has ended; its output says why
                process.stdin.write(line.encode() + b"\n")
                await process.stdin.drain()
            answer = object_of((await process.stdout.readline()).decode() or _NO_ANSWER)
        if "problems" in answer:
            where = f"--model {self._model}"
            raise ModelError(
                [Problem(**{**problem, "where": where}) for problem in answer["problems"]]
            )
        if not str(answer["text"]).strip():
            raise NoReply("the answer holds no text")
        return Reply(**answer)

    async def close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            await self._process.wait()

    async def _start(self) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *child_command(FUNCTION),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_MAX_LINE_BYTES,
            env={**os.environ, **thread_settings(None)},
        )
        assert process.stdin is not None
        process.stdin.write(request_line(ModelSpec(id=self._model)))
        return process
