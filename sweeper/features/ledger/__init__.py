"""The predictions of plans on record: each is scored once by its run, and teaches later plans."""

# Its phase is part of what the sweep took.
AFTER = ("suite",)
