"""A copy of the study in another Optuna storage (``--storage``)."""
