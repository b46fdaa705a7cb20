"""What strategy files declare: traits and numbers of parameters.

No torch, no rule book. What users declare is laid over by ``planning.declared_parameters``.
"""
