"""Where images come from: files of the user's, or the sample that ships with the project.

Nothing here downloads anything. Every loader takes the name of the argument it was given under, so
that its errors speak the caller's language, and draws in a seeded order: collections are often
sorted by class.
"""

import gzip
import io
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.nn import functional as F

from unmask.errors import BadInput, MissingExtra
from unmask.vision import Images

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "labels", "fine_label")
IDX_IMAGES, IDX_LABELS = 2051, 2049
"""The first four bytes of an idx file of bytes with three axes, and with one."""


def sample() -> Images:
    """Return the 64 test images of Fashion-MNIST that ship with the project: (64, 1, 28, 28).

    Source: Xiao, Rasul and Vollgraf, "Fashion-MNIST", 2017; licence MIT, copyright Zalando SE.
    """
    with resources.files("unmask.victims").joinpath("data/fashion-mnist-sample.npz").open("rb") as file:
        stored = np.load(file, allow_pickle=False)
        pixels, labels = stored["pixels"], stored["labels"]
    return _images(pixels[:, None], labels)


def load(path: str | Path, limit: int | None = None, seed: int = 0, *, argument: str = "--images") -> Images:
    """Read images of one size from a picture, a folder of pictures, parquet, or an idx file.

    Args:
        path: a picture; a folder of pictures (`CLASS/NAME.png` gives labels in the order of the classes'
            names) or of `.parquet` files with the column names of the Hugging Face hub (`img` or `image`
            with the file's bytes, `label`); an idx file, gzipped or not, with its labels beside it; or
            safetensors with `pixels` in [0, 1] and maybe `labels`, as `unmask distill` writes them.
        limit: how many to draw; None for all of them.
        seed: seed of the order.
        argument: what the caller calls `path`; errors use it.

    Returns:
        Pixels (N, 1 or 3, height, width) in [0, 1].

    Raises:
        BadInput: if nothing readable is there, `limit` is not positive, or the images differ in size.
        MissingExtra: if parquet is asked for and pyarrow is not installed.
    """
    path = Path(path)
    if limit is not None and limit < 1:
        raise BadInput("limit", limit, "is not positive", "give at least 1, or None for all images")
    if not path.exists():
        raise BadInput(argument, str(path), "is neither a file nor a folder", "check the path")
    if path.is_dir() and any(path.glob("*.parquet")):
        return _parquet(sorted(path.glob("*.parquet")), limit, seed, argument)
    if path.suffix == ".parquet":
        return _parquet([path], limit, seed, argument)
    if path.suffix == ".safetensors":
        return _safetensors(path, limit, seed, argument)
    if "idx" in path.name:
        return _idx(path, limit, seed, argument)
    return _pictures(path, limit, seed, argument)


def from_parquet(files: Sequence[Path], limit: int | None = None, seed: int = 0, *, argument: str = "--data") -> Images:
    """Read images from the parquet files of one split, with the column names of the Hugging Face hub.

    Args:
        files: its shards, in their order.
        limit: how many to draw; None for all of them.
        seed: seed of the order.
        argument: what the caller calls the files; errors use it.

    Raises:
        BadInput: if a file is unreadable or the images differ in size.
        MissingExtra: if pyarrow is not installed.
    """
    return _parquet(list(files), limit, seed, argument)


def fit(images: Images, shape: tuple[int, int, int], *, argument: str = "--images") -> Images:
    """Return images in the form that a model takes.

    Grey becomes colour by repetition and colour grey by its luminance. Images at most a quarter
    smaller than the model's are framed in black, any other size is scaled.

    Args:
        images: images of any one size.
        shape: channels, height and width of the model's images.
        argument: what the caller calls `images`; errors use it.

    Raises:
        BadInput: if the number of channels cannot be turned into the model's.
    """
    channels, *size = shape
    pixels = images.pixels
    if pixels.shape[1] == 3 and channels == 1:
        pixels = (pixels * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    elif pixels.shape[1] == 1:
        pixels = pixels.expand(-1, channels, -1, -1)
    if pixels.shape[1] != channels:
        rule = f"has {pixels.shape[1]} channels where the model takes {channels}"
        raise BadInput(argument, tuple(pixels.shape), rule, "give grey images or images of red, green and blue")
    missing = [want - have for want, have in zip(size, pixels.shape[2:], strict=True)]
    if all(0 <= lack <= want // 4 for lack, want in zip(missing, size, strict=True)):
        (down, across) = missing
        pixels = F.pad(pixels, (across // 2, across - across // 2, down // 2, down - down // 2))
    else:
        pixels = F.interpolate(pixels, size, mode="bilinear", antialias=True).clamp(0, 1)
    return Images(pixels=pixels.contiguous(), labels=images.labels)


def _images(pixels: Any, labels: Any) -> Images:
    """Return bytes (N, channels, height, width) as pixels in [0, 1]."""
    found = torch.from_numpy(np.ascontiguousarray(pixels)).float() / 255
    return Images(pixels=found, labels=None if labels is None else torch.as_tensor(labels).long())


def _order(count: int, limit: int | None, seed: int) -> list[int]:
    # Drawn from all of them, so that a smaller limit gives a prefix of a larger one.
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()[:limit]


def _idx(path: Path, limit: int | None, seed: int, argument: str) -> Images:
    pixels = _idx_bytes(path, IDX_IMAGES, argument)
    beside = path.with_name(path.name.replace("images-idx3", "labels-idx1"))
    labels = _idx_bytes(beside, IDX_LABELS, argument) if beside != path and beside.is_file() else None
    if labels is not None and len(labels) != len(pixels):
        rule = f"has {len(pixels)} images where {beside.name} has {len(labels)} labels"
        raise BadInput(argument, str(path), rule, "put the labels that belong to it beside it")
    order = _order(len(pixels), limit, seed)
    return _images(pixels[order][:, None], None if labels is None else labels[order])


def _idx_bytes(path: Path, magic: int, argument: str) -> Any:
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise BadInput(argument, str(path), f"cannot be read ({error})", "fetch it again") from error
    axes = 3 if magic == IDX_IMAGES else 1
    sizes = [int(size) for size in np.frombuffer(content[: 4 + 4 * axes], dtype=">i4")]
    body = np.frombuffer(content[4 + 4 * axes :], dtype=np.uint8)
    if len(sizes) != 1 + axes or sizes[0] != magic or int(np.prod(sizes[1:])) != len(body):
        raise BadInput(argument, str(path), "is no whole idx file of images with its labels", "fetch it again")
    return body.reshape(sizes[1:])


def _safetensors(path: Path, limit: int | None, seed: int, argument: str) -> Images:
    try:
        stored = load_file(path)
    except (SafetensorError, OSError) as error:
        raise BadInput(argument, str(path), f"cannot be read ({error})", "write it again") from error
    pixels, labels = stored.get("pixels"), stored.get("labels")
    if pixels is None or pixels.dim() != 4 or (labels is not None and len(labels) != len(pixels)):
        rule = f"holds {sorted(stored)}, not pixels (N, channels, height, width) and as many labels"
        raise BadInput(argument, str(path), rule, "write it with `unmask distill`")
    order = _order(len(pixels), limit, seed)
    return Images(pixels=pixels[order].float(), labels=None if labels is None else labels[order].long())


def _parquet(files: list[Path], limit: int | None, seed: int, argument: str) -> Images:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtra("pyarrow", "data") from error
    try:
        tables = [pq.read_table(file) for file in files]
        whole = pa.concat_tables(tables)
    except (OSError, pa.ArrowException) as error:
        raise BadInput(argument, str(files[0]), f"cannot be read ({error})", "fetch it again") from error
    column = next((name for name in IMAGE_COLUMNS if name in whole.column_names), None)
    if column is None:
        names = ", ".join(whole.column_names)
        raise BadInput(argument, str(files[0]), f"has no column 'img' or 'image' (it has: {names})", "rename one")
    rows = whole.take(_order(len(whole), limit, seed))
    content = [cell["bytes"] if isinstance(cell, dict) else cell for cell in rows[column].to_pylist()]
    label = next((name for name in LABEL_COLUMNS if name in whole.column_names), None)
    pixels = _stacked([(str(files[0]), io.BytesIO(cell or b"")) for cell in content], argument)
    return _images(pixels, None if label is None else rows[label].to_pylist())


def _pictures(path: Path, limit: int | None, seed: int, argument: str) -> Images:
    found = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.suffix.lower() in SUFFIXES)
    if not found:
        raise BadInput(argument, str(path), "holds no picture", f"name a folder with {', '.join(SUFFIXES)} files")
    chosen = [found[i] for i in _order(len(found), limit, seed)]
    classes = sorted({file.parent for file in found} - {path, path.parent})
    labelled = bool(classes) and all(file.parent in classes for file in found)
    labels = [classes.index(file.parent) for file in chosen] if labelled else None
    return _images(_stacked([(str(file), file) for file in chosen], argument), labels)


def _stacked(sources: list[tuple[str, Any]], argument: str) -> Any:
    # Bytes (N, channels, height, width), in colour if one of them has any.
    decoded = []
    for name, source in sources:
        try:
            with Image.open(source) as picture:
                grey = picture.mode in ("1", "L", "LA", "I;16")
                decoded.append((name, picture.convert("L" if grey else "RGB")))
        except (UnidentifiedImageError, OSError, ValueError) as error:
            rule = f"holds something that is no picture ({error})"
            raise BadInput(argument, name, rule, "give PNG or JPEG files") from error
    colour = any(picture.mode == "RGB" for _, picture in decoded)
    arrays = [np.asarray(picture.convert("RGB" if colour else "L")) for _, picture in decoded]
    for (name, _), array in zip(decoded, arrays, strict=True):
        if array.shape != arrays[0].shape:
            rule = f"has {array.shape[1]}x{array.shape[0]} pixels where others have {arrays[0].shape[1]}x"
            raise BadInput(argument, name, f"{rule}{arrays[0].shape[0]}", "give images of one size")
    stacked = np.stack(arrays)
    return stacked.transpose(0, 3, 1, 2) if colour else stacked[:, None]
