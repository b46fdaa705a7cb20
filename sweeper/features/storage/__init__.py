"""The study of a run as Optuna has it: ``study.db``, and a copy elsewhere (``--storage``)."""
