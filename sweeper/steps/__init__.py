"""The steps of plan and run, and the winner of a run, for the command line and for Python alike.

They print nothing: views and lines for the user are passed in.
"""
