"""Checks what works on this machine, such as training on its GPU."""
