"""Logs a run to MLflow, Weights & Biases or TensorBoard, in processes beside the command."""
