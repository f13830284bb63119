"""A distilled set as files: a data set with exact pixels and targets, and a sheet of pictures."""

import io
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from unmask import storage
from unmask.distill.inducing import Distilled

DATA, SHEET = "distilled.safetensors", "sheet.png"
ENLARGED, GAP = 3, 4
"""How often each pixel is repeated on the sheet, and the white between two images."""


def write(few: Distilled, shape: tuple[int, int, int], folder: Path, facts: dict[str, object]) -> tuple[Path, Path]:
    """Write `distilled.safetensors` and `sheet.png`.

    The first holds `pixels` (M, channels, height, width) in float32, `wanted` (M, C) and `labels` (M,), the
    class of the largest target, and the facts as JSON in its header; `unmask.victims.images.load` reads it.

    Args:
        few: the set.
        shape: channels, height and width of an image.
        folder: where to; it is made if missing.
        facts: what else to say of the set.

    Returns:
        The two paths.

    Raises:
        StorageError: if a file cannot be written.
    """
    pixels = few.inputs.float().clamp(0, 1).unflatten(1, shape).contiguous()
    labels = (few.wanted[:, 0] > 0).long() if few.wanted.shape[1] == 1 else few.wanted.argmax(1)
    tensors = {"pixels": pixels, "wanted": few.wanted.float().contiguous(), "labels": labels.contiguous()}
    data = storage.replace_bytes(folder / DATA, save(tensors, metadata={"unmask": json.dumps(facts)}))
    return data, storage.replace_bytes(folder / SHEET, sheet(pixels))


def sheet(pixels: Tensor) -> bytes:
    """Return images (M, channels, height, width) beside one another, ten a row, as a PNG.

    Args:
        pixels: in [0, 1], grey or in colour.
    """
    count, channels, height, width = pixels.shape
    columns = min(10, count)
    rows = -(-count // columns)
    canvas = torch.ones(channels, rows * (height * ENLARGED + GAP) - GAP, columns * (width * ENLARGED + GAP) - GAP)
    for index, image in enumerate(pixels):
        top, left = index // columns * (height * ENLARGED + GAP), index % columns * (width * ENLARGED + GAP)
        large = image.repeat_interleave(ENLARGED, 1).repeat_interleave(ENLARGED, 2)
        canvas[:, top : top + height * ENLARGED, left : left + width * ENLARGED] = large
    array = (canvas * 255).round().to(torch.uint8).numpy()
    picture = Image.fromarray(array[0] if channels == 1 else np.ascontiguousarray(array.transpose(1, 2, 0)))
    file = io.BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()
