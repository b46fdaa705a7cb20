"""Trains trials with transformers' Trainer and PEFT. Starts in ``torch_backend.py``."""
