"""Forecasts of the error on all rows, on curves whose law is known."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest

from benchmarks.data_curve.outside import COLUMNS, FORECASTS, MEMBER, Known, _cells, read

ROWS = np.tile([128.0, 256.0, 512.0], 3)
SEEDS = np.repeat(np.arange(3), 3)


@pytest.mark.parametrize("name", FORECASTS)
@pytest.mark.parametrize("law", [lambda n: 0.1 + 2 * n**-0.6, lambda n: 0.05 + 5 / (20 + n**0.8)])
def test_every_forecast_holds_a_law_with_little_noise(name, law) -> None:
    rng = np.random.default_rng(0)
    errors = law(ROWS) + rng.normal(0, 1e-3, ROWS.size)
    low, high = FORECASTS[name](ROWS, SEEDS, errors, 1024, rng)
    assert low <= law(1024.0) <= high
    assert high - low < 0.05


def test_a_curve_is_the_largest_one_with_all_parts(tmp_path: Path) -> None:
    lines = [",".join(COLUMNS)]
    for size in (16, 64, 91, 128, 256, 512, 1000):
        lines += [f"3,sklearn.Ridge,{size},0,{seed},{1 - 10 / size}" for seed in range(5)]
    lines += [f"4,sklearn.Ridge,{size},0,0,0.5" for size in (64, 128, 256, 512)]  # one seed
    table, archive = tmp_path / "table.csv", tmp_path / "lcdb.tar.gz"
    table.write_text("\n".join(lines) + "\n")
    with tarfile.open(archive, "w:gz") as file:
        file.add(table, MEMBER)
    (curve,) = read(archive)
    assert (curve.everything, curve.group) == (512, "linear")
    assert curve.rows.tolist() == [64, 128, 256] * 3
    assert curve.errors == pytest.approx(10 / curve.rows)
    assert curve.truth == pytest.approx(10 / 512)


def test_a_miss_costs_twenty_times_its_distance() -> None:
    curve = Known("a", ROWS, SEEDS, ROWS, 1024, truth=0.25)
    cells = _cells([curve, curve], {id(curve): (0.1, 0.2)})
    assert cells == "0% | 100% | 0% | 10.0 | 110.0"
