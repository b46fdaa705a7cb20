from __future__ import annotations

from sweeper.memory.operations import Tape, Value


def test_a_value_that_two_operations_save_is_kept_once() -> None:
    tape, x = Tape(), Value(10, 2)
    tape.record([x], saves=[x])
    tape.record([x], saves=[x])
    assert tape.kept() == 20


def test_the_gradient_of_a_sum_is_that_of_its_inputs() -> None:
    tape = Tape()
    tape.record([Value(10, 4), Value(10, 4)], shares_gradient=True)
    assert tape.backward_peak() == 40


def test_backward_holds_what_is_still_kept_and_the_gradients_of_one_operation() -> None:
    tape, x = Tape(), Value(1, 4)
    wide = tape.record([x], saves=[x], elements=8)
    tape.record([wide], saves=[wide], elements=1, workspace=100)
    # x and wide kept, the gradients of the residual stream, y and wide, and the workspace
    assert tape.backward_peak() == 4 + 32 + 4 + 4 + 32 + 100


def test_a_kept_output_counts_as_a_saved_value() -> None:
    tape, x = Tape(), Value(10, 2)
    tape.record([x], saves=[x], itemsize=4, saves_output=True)
    assert tape.kept() == 20 + 40
