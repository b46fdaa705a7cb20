"""The predictions of plans on record: each run scores its own once, for later plans."""

# The sweep's time includes the suite.
AFTER = ("suite",)
