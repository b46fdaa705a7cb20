"""How models are scored: baselines, task metrics and their uncertainty."""
