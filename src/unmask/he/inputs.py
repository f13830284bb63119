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
    array = _array(path)
    if array.dtype == np.uint8 and len(shape) == 2:
        array = patches(array if array.ndim > 2 else array[None], shape)
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

    Args:
        images: (count, height, width).
        shape: tokens and features, both squares of whole numbers.

    Raises:
        BadInput: if the images cannot be cut so.
    """
    grid, side = (math.isqrt(size) for size in shape)
    edge = grid * side
    if (grid**2, side**2) != shape or images.ndim != 3 or images.shape[1:] != (edge, edge):
        rule = f"cannot be cut into {shape[0]} patches of {shape[1]} pixels"
        raise BadInput("--data", images.shape, rule, f"give grey images of {edge} x {edge} pixels")
    cut = (images.astype(np.float64) / 255).reshape(-1, grid, side, grid, side)
    return np.ascontiguousarray(cut.transpose(0, 1, 3, 2, 4)).reshape(-1, *shape)


def _array(path: Path) -> "np.ndarray[Any, np.dtype[Any]]":
    try:
        if path.suffix.lower() in PICTURES:
            with Image.open(path) as picture:
                return np.asarray(picture.convert("L"))[None]
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
