from __future__ import annotations

from sweeper.memory.tape import Tape, Value


def test_a_value_that_two_operations_save_is_kept_once() -> None:
    tape = Tape()
    x, a, b = Value(10, 2), Value(10, 2), Value(10, 2)
    tape.record([a], [x], [x])
    tape.record([b], [x], [x])
    assert tape.kept() == 20


def test_the_gradient_of_a_sum_is_that_of_its_inputs() -> None:
    tape = Tape()
    a, b, y = Value(10, 4), Value(10, 4), Value(10, 4)
    tape.record([y], [a, b], shares_gradient=True)
    assert tape.backward_peak() == 40


def test_backward_holds_what_is_still_kept_and_the_gradients_of_one_operation() -> None:
    tape = Tape()
    x, wide, y = Value(1, 4), Value(8, 4), Value(1, 4)
    tape.record([wide], [x], [x])
    tape.record([y], [wide], [wide], workspace=100)
    # x and wide kept, the gradients of the residual stream, y and wide, and the workspace
    assert tape.backward_peak() == 4 + 32 + 4 + 4 + 32 + 100
