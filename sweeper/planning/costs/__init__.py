"""What one trial of a configuration takes, by formula, corrected by measurements."""
