"""Logs a run to MLflow, Weights & Biases or TensorBoard: ``--track``."""
