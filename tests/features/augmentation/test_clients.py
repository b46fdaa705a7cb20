"""An endpoint as it is in real life: busy, broken, slow, and in the wrong format."""

import asyncio
import time

import pytest
from augment_server import by_rules, cut_off, fails, says, sends, waits_for_another

from sweeper.data.examples import Message
from sweeper.errors import UsageError
from sweeper.features.augmentation._clients import MAX_CONSECUTIVE_FAILURES, Endpoint, Reply
from sweeper.features.augmentation._methods import ModelRequest, NoReply

QUESTION = ModelRequest((Message("system", "Rewrite."), Message("user", "play my song")), 12)
REPLY = by_rules("play my song")


def asked(server, times=1, **settings):
    """The replies, or what was raised in their place."""

    async def all_of_them():
        endpoint = Endpoint(server.url, "fake", **{"concurrency": 4, "retries": 2, **settings})
        try:
            return await asyncio.gather(
                *(endpoint.ask(QUESTION) for _ in range(times)), return_exceptions=True
            )
        finally:
            await endpoint.close()

    return asyncio.run(all_of_them())


def test_a_reply_has_its_text_and_its_tokens(server):
    (reply,) = asked(server)
    assert (reply.text, reply.tokens_in, reply.tokens_out) == (REPLY, 40, 10)
    assert server.bodies[0]["model"] == "fake"
    assert server.headers[0]["authorization"] == "Bearer sk-never-to-be-written"


def test_tokens_that_are_no_numbers_are_not_counted(server):
    said = b'{"choices": [{"message": {"content": "hi"}}], "usage": {"prompt_tokens": "many"}}'
    server.usual = sends(said)
    assert asked(server)[0] == Reply("hi", 0, 0)


def test_a_busy_server_is_asked_again_when_it_says(server):
    server.script = [fails(429, Retry_After="0.2")]
    assert asked(server)[0].text == REPLY
    assert server.times[1] - server.times[0] >= 0.2


@pytest.mark.parametrize(
    ("trouble", "timeout"),
    [(fails(500), 120.0), (fails(503), 120.0), (cut_off, 120.0), (waits_for_another, 2.0)],
    ids=["500", "503", "cut", "slow"],
)
def test_what_may_pass_is_tried_again(server, trouble, timeout):
    server.script = [trouble]
    assert asked(server, timeout=timeout)[0].text == REPLY
    assert len(server.bodies) >= 2


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        (sends(b"<html>we are down</html>", "text/html"), "holds no text"),
        (sends(b'{"choices": ['), ""),
        (sends(b'{"choices": []}'), "holds no text"),
        (sends(b"[1, 2]"), "holds no text"),
        (sends(b'{"choices": {"0": 1}}'), "holds no text"),
        (sends(b'{"choices": [{"message": {"content": null}}]}'), "holds no text"),
        (says(lambda _: "  "), "holds no text"),
        (says(by_rules, finish="length"), "was cut"),
        (fails(400), "status 400"),
        (fails(500), "status 500"),
    ],
)
def test_nonsense_is_no_reply_and_ends_nothing(server, behaviour, why):
    server.usual = behaviour
    (found,) = asked(server, retries=0)
    assert isinstance(found, NoReply)
    assert why in str(found)


@pytest.mark.parametrize(
    ("status", "fix"), [(401, "Set OPENAI_API_KEY"), (403, "OPENAI_API_KEY"), (404, "/v1")]
)
def test_a_refusal_ends_the_command_with_what_to_do(server, status, fix):
    server.usual = fails(status)
    (error,) = asked(server)
    assert isinstance(error, UsageError)
    assert f"status {status}" in str(error)
    assert fix in str(error)
    assert "sk-never" not in str(error)
    assert len(server.bodies) == 1


def test_an_endpoint_that_never_answers_is_given_up(server):
    server.usual = fails(500)
    found = asked(server, MAX_CONSECUTIVE_FAILURES, retries=0)
    assert sum(isinstance(one, NoReply) for one in found) == MAX_CONSECUTIVE_FAILURES - 1
    (given_up,) = (one for one in found if isinstance(one, UsageError))
    assert "10 requests in a row failed" in str(given_up)


def test_no_more_requests_a_minute_are_sent_than_allowed(server):
    begun = time.monotonic()
    asked(server, 4, per_minute=60 / 0.05)
    assert time.monotonic() - begun >= 0.15


def test_an_endpoint_that_is_not_there_is_said_to_be_out_of_reach(server):
    server.__exit__()
    assert "the endpoint cannot be reached" in str(asked(server, retries=0)[0])
