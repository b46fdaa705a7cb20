"""The process that does jobs, with a backend, an attempt's folder and a pipe to the command."""
