"""From facts to a plan by declarative rules. Pure: no side effects, no torch, no network."""
