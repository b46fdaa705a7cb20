"""What the study shows, with its noise. Reads the run folder; never imports torch."""
