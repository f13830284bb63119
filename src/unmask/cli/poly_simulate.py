"""`unmask poly simulate`: an encrypted inference in clear, with its levels, bootstraps and noise."""

import json as encoder
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from unmask.errors import BadInput
from unmask.poly.demo import find
from unmask.poly.network import Network
from unmask.poly.placement import Chain
from unmask.poly.polynomial import Array
from unmask.poly.simulator import Simulation, simulate


def command(
    folder: Annotated[Path, typer.Argument(help="Folder of a polynomial network, or the bundled fashion-mnist-poly.")],
    data: Annotated[Path, typer.Option(help="Held-out inputs: .npy of shape (number, tokens, inputs).")],
    ring: Annotated[int, typer.Option(help="log2 of the ring dimension.")] = 16,
    scale: Annotated[int, typer.Option(help="Bits of the scale.")] = 45,
    levels: Annotated[int, typer.Option(help="Levels of a fresh ciphertext.")] = 24,
    refreshed: Annotated[int, typer.Option(help="Levels after a bootstrap; 0 for none.")] = 0,
    share: Annotated[float, typer.Option(help="Part of each polynomial's interval that may be used.")] = 1.0,
    flexible: Annotated[bool, typer.Option("--flexible", help="The scale follows the primes, nothing drifts.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Write JSON to stdout, and nothing else.")] = False,
) -> None:
    """Refuse a network that leaves its intervals; else say depth, bootstraps, and the error the noise leaves."""
    if not 0 < share <= 1:
        raise BadInput("--share", share, "is not in (0, 1]", "give a share such as 0.9")
    network = find(folder)
    chain = Chain(ring=ring, scale=scale, levels=levels, refreshed=refreshed, fixed=not flexible)
    found = simulate(network, _inputs(data, network), chain, np.random.default_rng(seed), share=share)
    if json:
        print(encoder.dumps(_facts(found), indent=1))
        return
    placement = found.placement
    print(f"depth: {placement.depth} levels; {placement.count} bootstraps; {placement.left} levels left at the logits")
    for stage, name in placement.bootstraps:
        print(f"  bootstrap {name} before {stage}")
    print(
        f"error of a logit, rms: predicted {found.predicted:.2e} on {found.trials} inputs, measured "
        f"{found.measured:.2e} on {len(found.logits)}; largest {found.largest:.2e}"
    )
    print(f"  of it {found.drift:.2e} is drift of the scale, not noise")
    print(f"same class as exact arithmetic: {found.agreement:.2%}")
    for each in found.ranges:
        print(
            f"  {each.name}: {each.low:.3g} to {each.high:.3g}, {each.used:.0%} of [{each.interval[0]:.3g}, "
            f"{each.interval[1]:.3g}]"
        )


def _facts(found: Simulation) -> dict[str, object]:
    placement = found.placement
    return {
        "depth": placement.depth,
        "bootstraps": [{"stage": stage, "ciphertext": name} for stage, name in placement.bootstraps],
        "ciphertexts_refreshed": placement.count,
        "levels_left": placement.left,
        "predicted_rms": found.predicted,
        "drift_rms": found.drift,
        "measured_rms": found.measured,
        "largest": found.largest,
        "agreement": found.agreement,
        "inputs": len(found.logits),
        "ranges": {each.name: {"low": each.low, "high": each.high, "used": each.used} for each in found.ranges},
    }


def _inputs(path: Path, network: Network) -> Array:
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BadInput("--data", str(path), f"cannot be read ({error})", "give a .npy file") from error
    wanted = (network.tokens, network.inputs)
    if not isinstance(found, np.ndarray) or found.ndim != 3 or found.shape[1:] != wanted:
        shape = getattr(found, "shape", None)
        raise BadInput("--data", shape, "has another shape", f"give (number, {wanted[0]}, {wanted[1]})")
    return found.astype(np.float64)
