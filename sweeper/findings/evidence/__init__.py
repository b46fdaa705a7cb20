"""The evidence beside the verdict: strategies, parameters, rules, predictions."""
