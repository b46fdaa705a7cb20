"""Shows the reasons for a plan, and the facts that would change it."""
