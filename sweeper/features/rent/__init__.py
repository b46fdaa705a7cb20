"""Compares cards that can be rented by money, time and quality."""
