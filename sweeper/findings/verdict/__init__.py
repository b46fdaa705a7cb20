"""The verdict: what can be told apart, what is recommended, what cannot be said."""
