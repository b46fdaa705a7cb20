"""From files to examples: reading, recognising, splitting."""
