"""A model behind an OpenAI-compatible endpoint, asked through the ``openai`` client.

The client retries what is worth it (429, 5xx, lost connections, timeouts), waits longer each time
and heeds ``Retry-After``. The key comes from ``OPENAI_API_KEY`` and is written nowhere.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from sweeper.data.augment.methods import NoReply, Request
from sweeper.data.augment.replies import Reply
from sweeper.errors import UsageError
from sweeper.extras import install_command, needed_for
from sweeper.redaction import without_secrets

KEY = "OPENAI_API_KEY"
RETRIES = 6
"""The client waits 0.5 s and twice as long each time, up to 8 s: these are 24 s in all."""

FAILURES_IN_A_ROW = 10
"""An endpoint that fails as often as that, each time after all retries, does not come back soon."""

_NO_KEY = "none"
"""What is sent without a key: servers of one's own want none, but the client does."""


class Endpoint:
    """Sends requests, several at a time and no more a minute than allowed.

    Args:
        url: Up to ``/v1``.
        model: As the endpoint calls it.
        concurrency: Requests at a time.
        per_minute: Requests a minute; no limit if None.
        timeout: Seconds without a sign of the answer after which a request is sent again.
        retries: Of one request.

    Raises:
        NotInstalled: The client is missing.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
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
        self._room = asyncio.Semaphore(concurrency)
        self._gap = 60 / per_minute if per_minute else 0.0
        self._next = 0.0
        self._failures = 0
        self._client = openai.AsyncOpenAI(
            base_url=url,
            api_key=os.environ.get(KEY) or _NO_KEY,
            timeout=timeout,
            max_retries=retries,
        )

    async def ask(self, request: Request) -> Reply:
        """The reply to a request.

        Raises:
            NoReply: There was none, or it cannot be read.
            UsageError: There will be none to any request.
        """
        async with self._room:
            await self._turn()
            try:
                completion = await self._send(request)
            except (
                self._openai.AuthenticationError,
                self._openai.PermissionDeniedError,
                self._openai.NotFoundError,
            ) as error:
                raise self._refused(error) from error
            except (self._openai.APIError, ValueError) as error:
                raise self._failed(_told(error)) from error
        reply = _reply(completion)
        if isinstance(reply, str):
            raise self._failed(reply)
        self._failures = 0
        return reply

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _send(self, request: Request) -> Any:
        messages: Any = [{"role": m.role, "content": m.content} for m in request.messages]
        return await self._client.chat.completions.create(model=self._model, messages=messages)

    async def _turn(self) -> None:
        """Wait until the rate allows another request."""
        clock = asyncio.get_running_loop().time
        self._next = max(self._next, clock())
        wait, self._next = self._next - clock(), self._next + self._gap
        if wait > 0:
            await asyncio.sleep(wait)

    def _failed(self, why: str) -> Exception:
        self._failures += 1
        if self._failures < FAILURES_IN_A_ROW:
            return NoReply(why)
        return UsageError(
            f"{self._failures} requests in a row failed",
            why=why,
            fix="All replies are kept: the same command continues from there.",
            where=without_secrets(self._url),
        )

    def _refused(self, error: Any) -> UsageError:
        missing = not os.environ.get(KEY)
        fixes = {
            401: f"Set {KEY}." if missing else f"Check {KEY}.",
            403: f"Check what {KEY} may use.",
            404: "Check the URL (it usually ends in /v1) and the name of the model.",
        }
        return UsageError(
            f"the endpoint refuses requests with status {error.status_code}",
            why=_told(error),
            fix=fixes[error.status_code],
            where=without_secrets(self._url),
        )


def _told(error: Exception) -> str:
    said = without_secrets(str(error)).strip().splitlines()
    return said[0][:300] if said else type(error).__name__


def _reply(completion: Any) -> Reply | str:
    """The text of a reply, or the reason why it cannot be used. All replies are checked here."""
    choices = getattr(completion, "choices", None) or [None]
    text = getattr(getattr(choices[0], "message", None), "content", None)
    if not isinstance(text, str) or not text.strip():
        return "the answer holds no text"
    if getattr(choices[0], "finish_reason", None) == "length":
        return "the answer was cut at the server's limit"
    usage = getattr(completion, "usage", None)
    return Reply(
        text,
        tokens_in=int(getattr(usage, "prompt_tokens", 0) or 0),
        tokens_out=int(getattr(usage, "completion_tokens", 0) or 0),
    )
