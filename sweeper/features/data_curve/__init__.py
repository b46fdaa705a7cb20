"""Trainings on parts of the rows, to estimate what more rows would bring: ``--data-curve``."""
