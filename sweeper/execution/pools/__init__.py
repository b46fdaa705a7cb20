"""Where workers run: the protocol of a pool, and the processes of this machine."""
