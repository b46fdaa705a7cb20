"""The training loop, whatever is trained: batches, schedule, steps, memory."""
