"""The training loop of all trainings: batches, schedule, steps, memory."""
