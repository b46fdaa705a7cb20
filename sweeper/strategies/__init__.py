"""The ways to fine-tune: one file each, found by folder. See ``base.py``."""

import logging

# peft imports bitsandbytes, whose first words on some CPUs are that an optional package of faster
# kernels is missing. Every log of a worker would begin with it.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
