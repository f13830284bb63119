"""A plain network as a folder: `network.json` for its shape and polynomials, `network.safetensors` for weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from unmask.errors import BadInput
from unmask.poly.network import Affine, Attention, Block, FeedForward, Network
from unmask.poly.polynomial import Array, Polynomial
from unmask.storage import replace, replace_bytes

VERSION = 1
SHAPE, WEIGHTS = "network.json", "network.safetensors"


def save_network(network: Network, folder: Path, *, dtype: str = "float64") -> Path:
    """Write a network to a folder, which is made if it is missing.

    Args:
        network: what to write.
        folder: where.
        dtype: `float64`, or `float32` for half the size: the values are then rounded.

    Returns:
        The folder.

    Raises:
        StorageError: if the disk is full or the folder cannot be written.
    """
    tensors: dict[str, Array] = {"position": network.position}
    _put(tensors, "embedding", network.embedding)
    _put(tensors, "head", network.head)
    blocks = []
    for index, block in enumerate(network.blocks):
        attention, feed = block.attention, block.feed_forward
        for name in ("query", "key", "value", "output"):
            _put(tensors, f"{index}.attention.{name}", getattr(attention, name))
        tensors |= {f"{index}.attention.scale": attention.scale, f"{index}.attention.shift": attention.shift}
        if attention.mask is not None:
            tensors[f"{index}.attention.mask"] = attention.mask
        _put(tensors, f"{index}.feed_forward.rise", feed.rise)
        _put(tensors, f"{index}.feed_forward.fall", feed.fall)
        polynomials = {"attention": attention.activation.to_json(), "feed_forward": feed.activation.to_json()}
        blocks.append({"heads": attention.heads, **polynomials})
    shape: dict[str, Any] = {"version": VERSION, "kind": network.kind, "pooling": network.pooling}
    shape |= {"classes": list(network.classes), "blocks": blocks, "meta": network.meta}
    packed = {name: np.ascontiguousarray(tensor, dtype=dtype) for name, tensor in tensors.items()}
    replace_bytes(folder / WEIGHTS, save(packed))
    replace(folder / SHAPE, json.dumps(shape, indent=1))
    return folder


def load_network(folder: Path) -> Network:
    """Return the network that a folder holds.

    Raises:
        BadInput: if the folder holds none, one of another version, a broken one, or weights that are not finite.
    """
    try:
        shape = json.loads((folder / SHAPE).read_text(encoding="utf-8"))
        tensors = {name: tensor.astype(np.float64) for name, tensor in load((folder / WEIGHTS).read_bytes()).items()}
    except (OSError, ValueError, SafetensorError) as error:
        rule = f"holds no polynomial network ({error})"
        raise BadInput("folder", str(folder), rule, "make one with `unmask poly convert`") from error
    if shape.get("version") != VERSION:
        rule = f"has version {shape.get('version')}, this program reads {VERSION}"
        raise BadInput("folder", str(folder), rule, "convert the model again")
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise BadInput("folder", str(folder), f"holds values in {name} that are not finite", "train again")
    try:
        return _network(shape, tensors)
    except (KeyError, TypeError) as error:
        raise BadInput("folder", str(folder), f"lacks a part ({error})", "convert the model again") from error


def _network(shape: dict[str, Any], tensors: dict[str, Array]) -> Network:
    blocks = []
    for index, entry in enumerate(shape["blocks"]):
        room = f"{index}.attention"
        attention = Attention(
            **{name: _affine(tensors, f"{room}.{name}") for name in ("query", "key", "value", "output")},
            heads=int(entry["heads"]),
            scale=tensors[f"{room}.scale"],
            shift=tensors[f"{room}.shift"],
            activation=Polynomial.from_json(entry["attention"]),
            mask=tensors.get(f"{room}.mask"),
        )
        feed = FeedForward(
            rise=_affine(tensors, f"{index}.feed_forward.rise"),
            fall=_affine(tensors, f"{index}.feed_forward.fall"),
            activation=Polynomial.from_json(entry["feed_forward"]),
        )
        blocks.append(Block(attention=attention, feed_forward=feed))
    return Network(
        embedding=_affine(tensors, "embedding") if "embedding.weight" in tensors else None,
        position=tensors["position"],
        blocks=tuple(blocks),
        head=_affine(tensors, "head"),
        pooling=shape["pooling"],
        kind=shape["kind"],
        classes=tuple(shape["classes"]),
        meta=shape["meta"],
    )


def _put(tensors: dict[str, Array], name: str, affine: Affine | None) -> None:
    if affine is not None:
        tensors |= {f"{name}.weight": affine.weight, f"{name}.bias": affine.bias}


def _affine(tensors: dict[str, Array], name: str) -> Affine:
    return Affine(weight=tensors[f"{name}.weight"], bias=tensors[f"{name}.bias"])
