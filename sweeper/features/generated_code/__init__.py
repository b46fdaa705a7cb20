"""Runs programs that models write against tests, in a sandbox: ``--run-generated-code``."""
