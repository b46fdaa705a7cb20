"""How long trials are, when they are looked at, and what the whole study takes."""
