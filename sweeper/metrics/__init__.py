"""The figures that models are compared by beside the loss: found by folder."""
