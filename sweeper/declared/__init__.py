"""What strategy files say of a strategy, for every part that needs it; no torch, no rule book."""
