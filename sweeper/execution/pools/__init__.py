"""Pools of workers: the protocol, and workers as processes of this machine."""
