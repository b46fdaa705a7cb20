"""A model of this machine: a child process that answers line by line."""

import asyncio

import pytest

from sweeper.data.examples import Message
from sweeper.errors import ModelError
from sweeper.features.augmentation import _clients
from sweeper.features.augmentation._clients import LocalModel
from sweeper.features.augmentation._methods import ModelRequest, NoReply

ECHO = """
import json, sys
from sweeper.child_process import tell
from sweeper.spec import ModelSpec
def answer(model: ModelSpec) -> None:
    for line in sys.stdin:
        said = json.loads(line)["messages"][-1]["content"]
        tell(text=said.upper(), tokens_in=2, tokens_out=1)
"""
REFUSES = """
from sweeper.errors import NotInstalled
from sweeper.spec import ModelSpec
def answer(model: ModelSpec) -> None:
    raise NotInstalled(f"{model.id} is not installed")
"""


@pytest.fixture
def answers(tmp_path, monkeypatch):
    def by(program, *texts):
        (tmp_path / "writer_of_a_test.py").write_text(program)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setattr(_clients, "FUNCTION", "writer_of_a_test:answer")

        async def ask():
            model = LocalModel("packaged:tiny")
            try:
                asked = [ModelRequest((Message("user", text),), 10) for text in texts]
                return await asyncio.gather(*map(model.ask, asked), return_exceptions=True)
            finally:
                await model.close()

        return asyncio.run(ask())

    return by


def test_requests_are_answered_by_one_process_in_turn(answers):
    found = answers(ECHO, "one", "two", " ")
    assert [reply.text for reply in found[:2]] == ["ONE", "TWO"]
    assert (found[0].tokens_in, found[0].tokens_out) == (2, 1)
    assert isinstance(found[2], NoReply)


@pytest.mark.parametrize(
    ("program", "why"),
    [
        (REFUSES, "packaged:tiny is not installed"),
        ("raise SystemExit(1)", "the model ended without a reply"),
    ],
)
def test_a_model_that_cannot_be_loaded_ends_the_command(answers, program, why):
    (error,) = answers(program, "one")
    assert isinstance(error, ModelError)
    assert why in str(error)
    assert "--model packaged:tiny" in str(error)
