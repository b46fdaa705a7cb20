import pytest

from sweeper.findings import words
from sweeper.findings.findings import Interval, Metric

ACCURACY = Metric(name="accuracy", title="accuracy", higher_is_better=True, unit="points")
LOSS = Metric(name="loss", title="loss", higher_is_better=False, unit="nats/token")


@pytest.mark.parametrize(
    ("interval", "metric", "text"),
    [
        (Interval(value=0.008, low=-0.002, high=0.018), ACCURACY, "+0.8 points (CI −0.2 to 1.8)"),
        (Interval(value=-0.3, low=-0.5, high=-0.1), ACCURACY, "−30 points (CI −50 to −10)"),
        (Interval(value=0.0, low=-0.01, high=0.01), ACCURACY, "0.0 points (CI −1.0 to 1.0)"),
        (Interval(value=-0.0123, low=-0.02, high=-0.004), LOSS,
         "−0.0123 nats/token (CI −0.0200 to −0.0040)"),
        (Interval(value=0.05), ACCURACY, "+5 points"),
        (None, LOSS, "–"),
    ],
)  # fmt: skip
def test_differences_have_a_sign_a_unit_and_no_finer_digit_than_the_interval(
    interval, metric, text
):
    assert words.difference(interval, metric) == text


def test_scores_of_shares_are_per_cent_and_losses_are_not():
    wide = Interval(value=0.941, low=0.90, high=0.97)
    assert words.score_with_interval(wide, ACCURACY) == "94.1% (95% CI 90.0 to 97.0)"
    assert words.score_with_interval(wide, LOSS) == "0.941 (95% CI 0.900 to 0.970)"
    assert words.score(float("nan"), LOSS) == "–"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2e-4, "2e-4"),
        (0.05, "0.05"),
        (8.0, "8"),
        (16, "16"),
        (1230.5, "1,230"),
        ("qv", "qv"),
        (0.0, "0"),
    ],
)
def test_values_are_written_short(value, text):
    assert words.value(value) == text
