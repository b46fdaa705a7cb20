"""Runs doctor's check of liger-kernel's kernels on a CPU, in Triton's interpreter, and prints it.

For a process of its own, since Triton reads the variable when it is loaded.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ["TRITON_INTERPRET"] = "1"

import numpy as np
import torch
import triton.language as tl
from triton.language.extra import libdevice
from triton.runtime import interpreter

# The interpreter hands floats to a kernel as they are, where a compiled one has tensors, and has
# none of the functions of CUDA's library.
_converted = interpreter._implicit_cvt


def converted(value: Any) -> Any:
    if not isinstance(value, float):
        return _converted(value)
    handle = interpreter.TensorHandle(np.array([value], dtype=np.float32), tl.float32)
    return tl.tensor(handle, tl.float32)


interpreter._implicit_cvt = converted
libdevice.rsqrt = lambda x: tl.rsqrt(x)

from sweeper.features.doctor._checks import CheckContext, result  # noqa: E402

if __name__ == "__main__":
    few = CheckContext.rows
    CheckContext.rows = lambda self, count=1: few(self, count)  # type: ignore[method-assign]
    context = CheckContext(torch.device("cpu"), Path(sys.argv[1]))
    print(result("fused kernels", context).model_dump_json())
