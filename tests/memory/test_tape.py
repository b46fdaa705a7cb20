from __future__ import annotations

from sweeper.memory.tape import Tape, Value


def test_a_value_that_two_operations_save_is_kept_once() -> None:
    tape = Tape()
    x, a, b = Value(10, 2), Value(10, 2), Value(10, 2)
    tape.record([a], [x], [x])
    tape.record([b], [x], [x])
    assert tape.kept() == 20


def test_the_gradient_of_a_sum_is_one_buffer_for_all_its_inputs() -> None:
    tape = Tape()
    a, b, y = Value(10, 4), Value(10, 4), Value(10, 4)
    tape.record([y], [a, b], aliases=True)
    assert tape.backward_peak() == 40


def test_backward_holds_what_is_still_kept_and_the_gradients_on_their_way() -> None:
    tape = Tape()
    x, wide, y = Value(1, 4), Value(8, 4), Value(1, 4)
    tape.record([wide], [x], [x])
    tape.record([y], [wide], [wide], workspace=100)
    # x and wide kept, the gradients of y and wide, and the workspace
    assert tape.backward_peak() == 4 + 32 + 4 + 32 + 100


def test_forward_frees_a_value_after_its_last_use_unless_it_is_held() -> None:
    def peak(held: bool) -> float:
        tape = Tape()
        x, wide, y, z = Value(1, 1), Value(100, 1), Value(50, 1), Value(60, 1)
        tape.record([wide], [x])
        tape.record([y], [wide])
        tape.record([z], [y], holds=[wide] if held else [])
        return tape.forward_peak()

    assert peak(held=False) == 150
    assert peak(held=True) == 210
