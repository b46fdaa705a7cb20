"""The ways to fine-tune: one file each, discovered in this folder. See ``strategy.py``."""

import logging

# PEFT imports bitsandbytes, which warns on some CPUs that an optional package with faster kernels
# is missing. Every worker's log would begin with this warning.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
