"""One trial: transformers' Trainer and PEFT on a model that is loaded once. See ``backend.py``."""
