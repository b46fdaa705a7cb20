"""The verdict: comparisons, the recommendation, and its limitations."""
