"""The model of a trial's cost by its parameters."""
