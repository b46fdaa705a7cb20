"""Time of one trial of a configuration: by formula, corrected by measurements."""
