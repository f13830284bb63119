"""A synthetic run on images: three layers, the signals of four heads, two images, pictures on the disk."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from unmask.record import Cell, Outcome, Picture, Record, Texts

SIGNALS = ("heads.0", "heads.1", "heads.2", "heads.3", "block", "hidden", "key", "value", "probabilities")
ABSENT = (2, "probabilities")


def png(seed: int, noise: float) -> bytes:
    """Return a small smooth picture with noise."""
    draw = np.random.default_rng(seed)
    down, across = np.mgrid[0:32, 0:32] / 32
    pixels = 0.5 + 0.4 * np.sin(6 * down + seed) * np.cos(5 * across)
    pixels = pixels + noise * draw.standard_normal(pixels.shape)
    file = io.BytesIO()
    Image.fromarray((pixels.clip(0, 1) * 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def record(layer: int, component: str, item: int, *, db: float, role: str = "strongest") -> Record:
    """Return one record of an image that came back with so many decibels."""
    full = db >= 30
    key = f"{layer}-{component}-{item}-{role}"
    similar = min(1.0, db / 60)
    return Record(
        key=key,
        model="vit-demo",
        surface={"name": "attention-images", "dtype": "float32"},
        attack={"name": "image-newton" if role == "strongest" else "image-match", "role": role},
        cell=Cell(layer=layer, component=component, parameters=4160, share=0.02),
        item={"index": item, "size": 1, "pixels": 1024},
        knowledge=("The adversary knows the weights and how inputs are encoded.",),
        outcome=Outcome.CERTIFIED if full else Outcome.APPROXIMATE,
        reason="replay matches" if full else "the replay does not match to rounding",
        texts=Texts(secret=(), recovered=(), matches=(), redacted=True),
        scores={"ssim": similar, "cosine": 0.9, "recovered": float(full)},
        null={"ssim": 0.1, "cosine": 0.5, "recovered": 0.0},
        trivial={"ssim": 0.15, "cosine": 0.6, "recovered": 0.0},
        measures={"psnr_db": db, "mse": 10 ** (-db / 10), "l2": 1.0, "trivial_psnr_db": 8.0},
        pictures=(Picture(secret=f"pictures/{key}-0-secret.png", recovered=f"pictures/{key}-0-recovered.png"),),
        certificate=1e-7 if full else 0.02,
        seconds=12.5,
        seed=0,
        versions={"torch": "2.13.0"},
    )


def everything() -> list[Record]:
    """Return the records of the whole run; one head and one deep signal give part, the baseline ran twice."""
    found = []
    for layer in range(3):
        for component in SIGNALS:
            for item in range(2):
                if (layer, component) == ABSENT:
                    continue
                db = 14.0 if component == "heads.3" else 122.0 - 40 * layer if component != "hidden" else 21.0 + layer
                found.append(record(layer, component, item, db=db))
                if component == "block" and layer < 2:
                    found.append(record(layer, component, item, db=17.0, role="baseline"))
    return found


def grid() -> list[dict[str, object]]:
    """Return the planned cells as they stand in `run.json`."""
    why = "the soft-max is even everywhere"
    return [
        {"layer": i, "component": c, "parameters": 4160, "share": 0.02, "absent": why if (i, c) == ABSENT else None}
        for i in range(3)
        for c in SIGNALS
    ]


def draw(folder: Path, records: list[Record]) -> None:
    """Write the pictures that records name into a run's folder."""
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for found in records:
        noise = 10 ** (-found.measures["psnr_db"] / 20)
        for picture in found.pictures:
            (folder / picture.secret).write_bytes(png(found.item["index"], 0.0))
            (folder / picture.recovered).write_bytes(png(found.item["index"], noise))


def masked(found: Record) -> Record:
    """Return the record as a run that does not show private data leaves it."""
    return replace(found, pictures=tuple(Picture(secret="", recovered="") for _ in found.pictures))
