"""Clients of a model behind an OpenAI-compatible endpoint, and of a base model in a process.

An endpoint is called through the ``openai`` client, which retries 429, 5xx, lost connections and
timeouts with increasing delays, and heeds ``Retry-After``. The key comes from ``OPENAI_API_KEY``
and is written nowhere. A base model answers one request at a time. Replies are kept in a
file, so that a repeated command pays for none twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sweeper.child_process import child_command, request_bytes, thread_settings
from sweeper.data.examples import digest
from sweeper.errors import ModelError, Problem, UsageError
from sweeper.features.augmentation._methods import ModelRequest, NoReply
from sweeper.packages import install_command, needed_for
from sweeper.safe_text import without_secrets
from sweeper.spec import ModelSpec
from sweeper.textfiles import json_object


@dataclass(frozen=True)
class Reply:
    """A model's reply to one request, with the token counts that the model reports."""

    text: str
    tokens_in: int = 0
    tokens_out: int = 0


class Replies:
    """The replies of one model, in a file with one reply per line, written as they arrive.

    Args:
        path: The file. Its replies are read, except lines that were cut off.
        model: The name of the model. Replies of other models are ignored.
    """

    def __init__(self, path: Path, model: str) -> None:
        self._model = model
        self._by_key: dict[str, Reply] = {}
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        for line in text.splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):  # a line that was cut off
                fields = json_object(line)
                key = str(fields.pop("key"))
                self._by_key[key] = Reply(**fields)
        self._file = path.open("a", encoding="utf-8")
        if text and not text.endswith("\n"):
            self._file.write("\n")

    def get(self, request: ModelRequest) -> Reply | None:
        """The kept reply to a request; None if there is none."""
        return self._by_key.get(self._key(request))

    def keep(self, request: ModelRequest, reply: Reply) -> None:
        key = self._key(request)
        self._by_key[key] = reply
        line = {"key": key, **asdict(reply)}
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _key(self, request: ModelRequest) -> str:
        turns = [[message.role, message.content] for message in request.messages]
        return digest(json.dumps([self._model, turns], ensure_ascii=False))


KEY = "OPENAI_API_KEY"
"""The environment variable with the endpoint's key."""

RETRIES = 6
"""Retries of a request. The client waits 0.5 s before the first one and doubles that up to 8 s, so
24 s in all."""

MAX_CONSECUTIVE_FAILURES = 10
"""Consecutive failed requests, after all retries, at which the command stops."""

_REMEDIES: Mapping[int | None, str] = {
    401: f"Set {KEY} to a key that is valid there.",
    403: f"Check what the key in {KEY} may use.",
    404: "Check the URL (it usually ends in /v1) and the name of the model.",
}
"""What to do about each status that no retry changes."""

_NO_KEY = "none"
"""Sent if no key is set: the client requires a key, but local servers do not."""


class Endpoint:
    """A client that sends requests in parallel, within a limit per minute.

    Args:
        url: The address up to ``/v1``.
        concurrency: Maximum number of requests in parallel.
        per_minute: Maximum number of requests a minute; no limit if None.
        timeout: Seconds to wait for data before a retry.

    Raises:
        NotInstalled: The client is missing.
    """

    def __init__(
        self,
        url: str,
        model: str,
        concurrency: int,
        per_minute: float | None = None,
        timeout: float = 120.0,
        retries: int = RETRIES,
    ) -> None:
        with needed_for("An endpoint", install_command("augment"), "--endpoint"):
            import openai
        self._openai = openai
        self._url = url
        self._model = model
        self._free_slots = asyncio.Semaphore(concurrency)
        self._seconds_between = 60 / per_minute if per_minute else 0.0
        self._next_start = 0.0
        self._has_answered, self._failures = False, 0
        self._client = openai.AsyncOpenAI(
            base_url=url,
            api_key=os.environ.get(KEY) or _NO_KEY,
            timeout=timeout,
            max_retries=retries,
        )

    async def ask(self, request: ModelRequest) -> Reply:
        """The reply to a request.

        Raises:
            NoReply: This request failed, or its reply is unusable.
            UsageError: The endpoint cannot be used.
        """
        messages: Any = [{"role": m.role, "content": m.content} for m in request.messages]
        async with self._free_slots:
            await self._wait_for_rate()
            try:
                completion = await self._client.chat.completions.create(
                    model=self._model, messages=messages
                )
            except (self._openai.APIError, ValueError) as error:
                raise self._failure(error) from error
        reply = _reply(completion)
        if isinstance(reply, str):
            raise self._failure(NoReply(reply))
        self._has_answered, self._failures = True, 0
        return reply

    async def close(self) -> None:
        await self._client.close()

    async def _wait_for_rate(self) -> None:
        clock = asyncio.get_running_loop().time
        self._next_start = max(self._next_start, clock())
        wait = self._next_start - clock()
        self._next_start += self._seconds_between
        if wait > 0:
            await asyncio.sleep(wait)

    def _failure(self, error: Exception) -> Exception:
        """The error for a request that failed after all retries."""
        self._failures += 1
        reason = (without_secrets(str(error)).strip().splitlines() or [type(error).__name__])[0]
        status = getattr(error, "status_code", None)
        fix = _REMEDIES.get(status, "Replies so far are kept. Repeat the command to continue.")
        if status in _REMEDIES:
            what = f"the endpoint refuses requests with status {status}"
        elif not self._has_answered and type(error) is self._openai.APIConnectionError:
            what, fix = "the endpoint cannot be reached", "Check the URL and the server."
        elif self._failures < MAX_CONSECUTIVE_FAILURES:
            return NoReply(reason[:300])
        else:
            what = f"{self._failures} requests in a row failed"
        return UsageError(what, why=reason[:300], fix=fix, where=without_secrets(self._url))


def _reply(completion: Any) -> Reply | str:
    """The reply in a server's response, or the reason why there is none."""
    choices = getattr(completion, "choices", None)
    choice = choices[0] if isinstance(choices, list) and choices else None
    text = getattr(getattr(choice, "message", None), "content", None)
    if not isinstance(text, str) or not text.strip():
        return "the reply holds no text"
    if getattr(choice, "finish_reason", None) == "length":
        return "the reply was cut at the server's limit"
    usage = getattr(completion, "usage", None)
    counts = (getattr(usage, name, 0) for name in ("prompt_tokens", "completion_tokens"))
    return Reply(text, *(count if isinstance(count, int) else 0 for count in counts))


FUNCTION = "sweeper.features.augmentation._answer_requests:answer"
"""The function that the model's process runs."""

_MAX_LINE_BYTES = 2**24
"""Maximum length of a line that the process writes."""

_NO_REPLY_LINE = '{"problems": [{"what": "the model ended without a reply"}]}'
"""Used if the process ends without a line."""


class LocalModel:
    """A client of the base model that ``--model`` names."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._request_lock = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None

    async def ask(self, request: ModelRequest) -> Reply:
        """The reply to a request.

        Raises:
            NoReply: The model wrote nothing.
            ModelError: The model cannot be loaded.
        """
        turns = [{"role": m.role, "content": m.content} for m in request.messages]
        line = json.dumps({"messages": turns, "expected_characters": request.expected_characters})
        async with self._request_lock:
            process = self._process = self._process or await self._start()
            assert process.stdin is not None
            assert process.stdout is not None
            with contextlib.suppress(OSError):  # the process has ended; its output says why
                process.stdin.write(line.encode() + b"\n")
                await process.stdin.drain()
            reply = json_object((await process.stdout.readline()).decode() or _NO_REPLY_LINE)
        if "problems" in reply:
            where = f"--model {self._model}"
            raise ModelError(
                [Problem(**{**problem, "where": where}) for problem in reply["problems"]]
            )
        if not str(reply["text"]).strip():
            raise NoReply("the reply holds no text")
        return Reply(**reply)

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
        process.stdin.write(request_bytes(ModelSpec(id=self._model)))
        return process
