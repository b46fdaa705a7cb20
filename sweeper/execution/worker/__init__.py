"""The worker process, with a backend, an attempt's folder and a pipe to the command."""
