"""What a client wants to ask about, from files to arrays."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from unmask.errors import BadInput
from unmask.he.servable import Array

PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
PIXELS = "pixels"


def read(path: Path, shape: tuple[int, ...], item: int | None = None) -> Array:
    """Return inputs of a file, the first axis counting them.

    Numbers are taken as they are, if they have the shape. Images, whole bytes or pictures, are scaled to [0, 1]
    and cut into patches.

    Args:
        path: `.npy`; `.npz` with images under `pixels`; or a picture.
        shape: of one input: (tokens, features), or (entries,).
        item: which one, or None for all.

    Raises:
        BadInput: if the file cannot be read, or does not hold inputs of this shape.
    """
    array = _array(path, "RGB" if _colours(shape) == 3 else "L")
    if array.dtype == np.uint8 and len(shape) == 2:
        array = patches(array if array.ndim > 2 + (_colours(shape) == 3) else array[None], shape)
    values = array.astype(np.float64)
    values = values if values.ndim > len(shape) else values[None]
    if values.shape[1:] != shape:
        rule = f"holds inputs of shape {values.shape[1:]}"
        raise BadInput("--data", str(path), rule, f"give (count, {', '.join(map(str, shape))})")
    if item is None:
        return values
    if not 0 <= item < len(values):
        raise BadInput("--item", item, f"is not in 0 to {len(values) - 1}", f"{path} holds {len(values)} inputs")
    return values[item : item + 1]


def patches(images: "np.ndarray[Any, np.dtype[np.uint8]]", shape: tuple[int, ...]) -> Array:
    """Return (count, tokens, features) of images in [0, 1]: patches row by row, as the models here are trained.

    The features of a patch are its pixels, those of a colour before those of the next.

    Args:
        images: (count, height, width) grey, or (count, height, width, 3) in red, green and blue.
        shape: tokens, a square number, and features, a square number or three times one.

    Raises:
        BadInput: if the images cannot be cut so.
    """
    colours = _colours(shape)
    grid, side = math.isqrt(shape[0]), math.isqrt(shape[1] // colours)
    edge = grid * side
    wanted = (edge, edge) if colours == 1 else (edge, edge, colours)
    if (grid**2, colours * side**2) != shape or images.shape[1:] != wanted:
        rule = f"cannot be cut into {shape[0]} patches of {shape[1]} numbers"
        kind = "grey" if colours == 1 else "colour"
        raise BadInput("--data", images.shape, rule, f"give {kind} images of {edge} x {edge} pixels")
    cut = (images.astype(np.float64) / 255).reshape(-1, grid, side, grid, side, colours)
    return np.ascontiguousarray(cut.transpose(0, 1, 3, 5, 2, 4)).reshape(-1, *shape)


def _colours(shape: tuple[int, ...]) -> int:
    """Return 3 if the features are three squares, which no square is, and 1 otherwise."""
    return 3 if len(shape) == 2 and shape[1] % 3 == 0 and math.isqrt(shape[1] // 3) ** 2 == shape[1] // 3 else 1


def _array(path: Path, mode: str) -> "np.ndarray[Any, np.dtype[Any]]":
    try:
        if path.suffix.lower() in PICTURES:
            with Image.open(path) as picture:
                return np.asarray(picture.convert(mode))[None]
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.lib.npyio.NpzFile):
            with found:
                found = found[PIXELS]
    except (OSError, ValueError, EOFError, KeyError, UnidentifiedImageError) as error:
        remedy = f"give .npy, .npz with `{PIXELS}`, or a picture"
        raise BadInput("--data", str(path), f"cannot be read ({error})", remedy) from error
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiub":
        raise BadInput("--data", str(path), "holds no numbers", "give an array of numbers")
    return found
