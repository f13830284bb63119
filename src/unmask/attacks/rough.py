"""Where rankings need no more than three digits, matrices are multiplied in bfloat16 if that is faster."""

from contextlib import AbstractContextManager, nullcontext
from functools import cache

import torch


@cache
def native() -> bool:
    """Return whether this processor multiplies bfloat16 by instructions of its own."""
    known: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


def rough() -> AbstractContextManager[object]:
    """Return a context in which linear maps and attention run in bfloat16, or one that changes nothing.

    A row of a replay is then off by about 0.5 % (measured in MiniLM's sixth layer) and costs 2.3
    to 3 times less. That serves to propose sentences; what decides is replayed outside of it.
    """
    return torch.autocast("cpu", torch.bfloat16) if native() else nullcontext()
