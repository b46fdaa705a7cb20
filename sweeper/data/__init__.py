"""From files to examples: reading, recognising, splitting. Knows nothing about models."""
