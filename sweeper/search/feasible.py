"""How likely a configuration keeps to the user's limit, by the trials in which that was measured.

What is over the limit is modelled apart from the loss, and the two are multiplied: a penalty on the
loss would need a rate of exchange between the two, and would bend the model of the loss where the
trials are that know it best. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import special

from sweeper.search.gaussian_process import Matrix, Surrogate, Vector, clipped

# What is over the limit is known to this share of how much trials differ by it: it is measured on
# few texts. An assumption, not a measurement.
DOUBT_SHARE = 0.1


def log_chance(points: Matrix, excess: Vector, rows: Matrix, groups: Sequence[slice]) -> Vector:
    """Log probability of keeping to the limit, shape ``(m,)``.

    Expected improvement is weighed with it: Schonlau, Welch and Jones 1998, Global versus local
    search in constrained optimization; Gardner et al. 2014, Bayesian optimization with inequality
    constraints.

    Args:
        points: Where it was measured, shape ``(n, d)``.
        excess: By how much the limit was broken there, up to 0 where it was kept, shape ``(n,)``.
        rows: Where it is asked for, shape ``(m, d)``.
        groups: Columns of each parameter.
    """
    seen = clipped(excess)
    spread = float(np.std(seen)) or float(np.abs(seen).max())
    fitted = Surrogate.fit(points, seen, DOUBT_SHARE * spread, spread, groups)
    mean, deviation = fitted.predict(rows)
    return np.asarray(special.log_ndtr(-mean / deviation))
