"""The steps of plan and run, and the winner of a run, for the command line and the Python API.

They print nothing: callers pass in views and functions that show messages.
"""
