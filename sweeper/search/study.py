"""The names of what a trial carries beside its value. Plain Optuna and dashboards show them."""

from __future__ import annotations

ORIGIN = "sweeper:origin"
FAILURE = "sweeper:failure"
SECONDS = "sweeper:seconds"
GENERAL_LOSS = "sweeper:general_loss"
FORGETTING = "sweeper:forgetting_points"
# A system attribute, as Optuna's `set_constraint` writes it. Up to 0 a trial keeps to the limit;
# `best_trial` and Optuna's samplers see it.
CONSTRAINT = "constraints:forgetting"
