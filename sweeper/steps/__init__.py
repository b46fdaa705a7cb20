"""The steps of plan, run, evaluate and refit, for the command line and for Python alike.

They print nothing: views and lines for the user are passed in.
"""
