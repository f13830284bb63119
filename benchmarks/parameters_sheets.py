"""Sheets of pictures for the pages: `python -m benchmarks.parameters_sheets [pairs | distilled]`.

`pairs`: originals of a training of 20 images over what the attack read, and over what it reads from the
change dealt to other neurons; ten of them, at equal steps of the error. `distilled`: ten of 500 originals
over ten images of KIP and ten of RKIP. Pixels are those of Fashion-MNIST (MIT licence).
"""

import sys
from pathlib import Path

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from benchmarks.harness import threads
from benchmarks.parameters_distillation import FEW, KERNEL, SEEDS, problem
from benchmarks.parameters_ordinary import CASES, attacked, trained
from unmask import storage
from unmask.distill.export import sheet
from unmask.distill.inducing import Distillation, Method, distill
from unmask.rng import generator

DOCS = Path(__file__).parents[1] / "docs"
SHOWN = 10


def matched(secret: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
    """Return each secret's guess, white where there is none, one to one with the least sum, and its L2 error."""
    guess = torch.ones_like(secret)
    table = torch.cdist(secret.flatten(1), found.flatten(1).double())
    rows, columns = linear_sum_assignment(table.numpy())
    guess[rows] = found[columns].double()
    errors = torch.full((len(secret),), float("inf"), dtype=torch.float64)
    errors[rows] = table[rows, columns]
    return guess, errors


def pairs(name: str = "20") -> bytes:
    """Return the sheet of one training."""
    victim, *_ = trained(CASES[name])
    assert victim.secret is not None
    secret = victim.secret.pixels.double()
    found, _, seconds = attacked(victim, False, CASES[name].limit)
    dealt, _, _ = attacked(victim, True, 2 * seconds)
    read, errors = matched(secret, found)
    null, _ = matched(secret, dealt)
    order = errors.argsort()[torch.linspace(0, len(errors) - 1, SHOWN).round().long()]
    print("errors", [f"{float(errors[k]):.2g}" for k in order], flush=True)
    return sheet(torch.cat([part[order] for part in (secret, read, null)]).float())


def distilled() -> bytes:
    """Return the sheet of the distilled sets, targets +-1 for KIP and learned for RKIP as in the rows."""
    here = problem(SEEDS[0])
    shown = [here.inputs[:SHOWN]]
    for name, method, learn in (("kip", Method.KIP, False), ("rkip-labels", Method.RKIP, True)):
        settings = Distillation(method=method, count=FEW, learn_labels=learn, steps=500)
        *_, few = distill(KERNEL, here.inputs, here.wanted, settings, generator(SEEDS[0], "distil", name))
        shown.append(few.inputs[:SHOWN])
    return sheet(torch.cat(shown).clamp(0, 1).unflatten(1, (1, 28, 28)).float())


SHEETS = {"pairs": (pairs, DOCS / "attacks" / "weights-pairs.png"), "distilled": (distilled, DOCS / "distilled.png")}


def main(names: list[str]) -> int:
    """Write the named sheets, all by default; 2 for an unknown name."""
    if set(names) - set(SHEETS):
        print(f"sheets {names} are unknown; choose {', '.join(SHEETS)}", file=sys.stderr)
        return 2
    threads()
    for name in names or SHEETS:
        make, path = SHEETS[name]
        storage.replace_bytes(path, make())
        print(path.name, path.stat().st_size, "bytes", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
