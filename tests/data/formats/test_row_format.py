from sweeper.data.formats import TRAINABLE
from sweeper.data.formats.row_format import trainable


def test_conditions_of_rules_know_every_format_that_can_be_trained_on():
    assert tuple(trainable()) == TRAINABLE
