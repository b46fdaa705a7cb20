"""Checks what works on this machine, by trainings on its GPU among others."""
