"""The ways to fine-tune: one file each, discovered in this folder. See ``strategy.py``."""

import logging

# peft imports bitsandbytes, which warns on some CPUs that an optional package of faster kernels is
# missing. The warning would begin every worker's log.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
