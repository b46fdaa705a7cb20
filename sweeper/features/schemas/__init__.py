"""Prints JSON Schemas, with which editors complete and check the files that people write."""
