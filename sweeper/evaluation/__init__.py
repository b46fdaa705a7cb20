"""How good a model is: baselines to beat and task figures."""
