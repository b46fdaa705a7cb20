"""Documents that quote held-out rows, and those that only seem to."""

from sweeper.data.examples import Example, Message, input_key
from sweeper.data.similar import without_held_out_text

CALL = Message("assistant", "", more='{"tool_calls": []}')


def conversation(question, *turns):
    return Example(input_key(question), 1, messages=(Message("user", question), *turns))


def test_a_tool_call_without_text_is_no_quote_of_another_conversation():
    held_out = conversation("How warm is it in Oslo?", CALL)
    document = conversation("Name a river.", Message("assistant", "The Rhine."))
    assert without_held_out_text((document,), (held_out,)) == (document,)


def test_the_same_row_and_a_text_that_equals_a_message_are_left_out():
    row = conversation("Name a river.", Message("assistant", "The Rhine."))
    text = Example(input_key("the rhine."), 2, text="the rhine.")
    assert without_held_out_text((row, text), (row,)) == ()
