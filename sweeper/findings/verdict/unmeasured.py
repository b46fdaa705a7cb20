"""What this study did not measure, said as such instead of left out."""

from __future__ import annotations

from sweeper.findings.figures import NotMeasured


def data_size() -> NotMeasured:
    """Every trial saw the same train split."""
    return NotMeasured(
        reason="Every trial trained on the same rows, so that this study cannot say what more "
        "data would bring. To measure it, run the winner's configuration on a half and a quarter "
        "of the rows (data.max_rows in sweep.yaml) under other names.",
    )


def samples() -> NotMeasured:
    """No outputs were kept."""
    return NotMeasured(reason="No outputs of single items were kept.")
