"""Traits of strategies, and their numbers of trained parameters, as strategy files state them.

Uses no torch and no rule book. ``planning.declared_parameters`` adds what users declare.
"""
