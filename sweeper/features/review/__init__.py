"""Reviews the configuration of another trainer: memory, time, evidence, contradictions, a patch."""
