"""Strategies that train vectors alone: VeRA and (IA)3."""
