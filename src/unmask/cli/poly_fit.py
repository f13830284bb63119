"""`unmask poly fit`: a polynomial for one function, how exact it is, and what it costs encrypted."""

import json as encoder
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from unmask.errors import BadInput, MissingExtra, StorageError
from unmask.poly import plot
from unmask.poly.certify import Certificate, certificate
from unmask.poly.fits import METHODS
from unmask.poly.polynomial import Polynomial
from unmask.poly.program import Program, programs
from unmask.poly.targets import TARGETS, Target, target


def command(
    function: Annotated[str, typer.Argument(help=f"One of {', '.join(TARGETS)}.")],
    interval: Annotated[str, typer.Option(help="Where it has to hold, such as -6,6.")] = "-6,6",
    degree: Annotated[int, typer.Option(help="Degree, 1 to 511.")] = 7,
    method: Annotated[
        str, typer.Option(help="minimax (least largest error) or chebyshev (interpolation).")
    ] = "minimax",
    out: Annotated[Path | None, typer.Option(help="Write the polynomial to this JSON file.")] = None,
    picture: Annotated[
        Path | None, typer.Option("--plot", help="Write function and error to this PNG or SVG file.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Write JSON to stdout, and nothing else.")] = False,
) -> None:
    """Fit a polynomial: certified error, how near to the best of its degree, levels and products."""
    if method not in METHODS:
        raise BadInput("--method", method, "is unknown", f"name one of: {', '.join(METHODS)}")
    wanted = target(function)
    found = METHODS[method](function, _interval(interval), degree)
    bounds, known = certificate(found, wanted), programs(found)
    if out is not None:
        _write(out, encoder.dumps(found.to_json(), indent=1) + "\n")
    if picture is not None:
        _draw(picture, found, wanted)
    if json:
        print(encoder.dumps(_facts(found, bounds, known), indent=1))
        return
    low, high = found.interval
    print(f"{function} on [{low:g}, {high:g}], degree {degree}, {method}")
    print(f"error: {found.error:.3e}, certified for every point from {bounds.samples} samples")
    print(_beside_best(bounds))
    for each in known:
        print(f"depth {each.depth}: {each.products} ciphertext products, {each.plain_products} products with numbers")
    print("the map of the interval to [-1, 1] is folded into the weights before, and takes no level")
    print(plot.text(found, wanted))


def _facts(found: Polynomial, bounds: Certificate, known: tuple[Program, ...]) -> dict[str, object]:
    costs = [{"depth": each.depth, "products": each.products, "plain_products": each.plain_products} for each in known]
    least = {"minimax_lower_bound": bounds.lower, "ratio": bounds.ratio if np.isfinite(bounds.ratio) else None}
    return {"polynomial": found.to_json(), "degree": found.degree, "error": found.error, **least, "costs": costs}


def _beside_best(bounds: Certificate) -> str:
    if bounds.lower <= 0:
        return "the error does not alternate often enough to show how near to the best of its degree it is"
    return f"no polynomial of this degree has an error below {bounds.lower:.3e}: this one is within {bounds.ratio:.5g}x"


def _interval(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as wrong:
        raise BadInput("--interval", text, "is not two numbers", "write such as --interval=-6,6") from wrong
    return low, high


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(str(path), error.strerror or str(error)) from error


def _draw(path: Path, found: Polynomial, wanted: Target) -> None:
    try:
        plot.picture(path, found, wanted)
    except ImportError as missing:
        raise MissingExtra("matplotlib", "bench") from missing
    except (OSError, ValueError) as error:
        raise BadInput("--plot", str(path), f"cannot be written ({error})", "name a .png or .svg file") from error
