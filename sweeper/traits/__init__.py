"""Traits of strategies, and their numbers of trained parameters, as strategy files state them.

No torch, no rule book. What users declare is laid over by ``planning.declared_parameters``.
"""
