"""Findings: results of a run with their uncertainty. Never imports torch."""
