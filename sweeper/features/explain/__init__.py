"""Shows why a plan says what it says, and what would change it."""
