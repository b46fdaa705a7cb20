"""The figures that models are compared by beside the loss: one file each, found by folder."""
