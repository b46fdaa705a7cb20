"""JSON Schemas, by which editors complete and check the files that people write."""
