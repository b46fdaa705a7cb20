"""The configuration of a trial for other trainers, with the rows that it was trained on.

``settings.py`` says what one training takes in sweeper's own names, ``rows.py`` writes the split,
and each folder of ``targets/`` holds the files of one trainer as templates. No torch.
"""
