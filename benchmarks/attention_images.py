"""Measure images from activations of a vision transformer: `python -m benchmarks.attention_images [PART ...]`.

Every attack on every image is one line of `results/attention-images.jsonl`, and is not run again: delete
the lines that are to be measured anew. Parts: clean, deeper, published, robust, pictures, rows.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.harness import DATA, threads
from benchmarks.rows import RESULTS, Row, save
from unmask.attack import Attack
from unmask.attacks.images.match import ImageMatch
from unmask.attacks.images.newton import ImageNewton
from unmask.auditor.attempt import attempt
from unmask.auditor.image_plan import singles
from unmask.auditor.images import ImageSubject
from unmask.rng import generator
from unmask.surface import Release
from unmask.surfaces.image_activation import ImageActivationSurface
from unmask.victims import images, torch_vision
from unmask.vision import Images

LOG = RESULTS / "attention-images.jsonl"
PICTURES = Path(__file__).resolve().parents[1] / "docs" / "pictures"
FASHION = Path(os.environ.get("FASHION", DATA / "fashion-mnist"))
HELD_OUT, TRAINED = (FASHION / f"{part}-images-idx3-ubyte.gz" for part in ("t10k", "train"))
PUBLIC = 3000
"""Pictures of the training data, which the adversary holds in the settings that say so."""
HELD = "public pictures at hand"
COUNT = 20
FEW = 5
SECONDS = 240.0
NOISES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
COMMAND = "python -m benchmarks.attention_images"


class Bench:
    """The demo model, held-out images that it was not trained on, and the log."""

    def __init__(self) -> None:
        self.model = torch_vision.demo()
        found = images.load(HELD_OUT, limit=COUNT + 8)
        self.items = singles(images.fit(found, self.model.shape))
        self.subject = ImageSubject(model=self.model, tensors=self.model.weights())
        drawn = images.load(TRAINED, limit=PUBLIC, seed=1)
        self.informed = replace(self.model, examples=images.fit(drawn, self.model.shape))
        self.done = {line["key"]: line for line in lines()}

    def run(
        self, name: str, surface: ImageActivationSurface, attack: Attack[Any], index: int, *, informed: bool = False
    ) -> dict[str, Any]:
        """Return the line of one attack on one image, from the log if it is there.

        An informed adversary holds public pictures: some of those that the public model was trained on.
        """
        key = f"{name}/{attack.name}/{index}"
        if key in self.done:
            return self.done[key]
        secret = self.items[index]
        seen = surface.observe(self.subject.victim(secret), generator(0, "observe", name, index))
        seen = replace(seen, model=self.informed) if informed else seen
        began = time.process_time()
        ended = attempt(attack, seen, generator(0, attack.name, name, index), seconds=SECONDS, clock=time.process_time)
        others = [self.items[(index + k) % len(self.items)] for k in range(1, 9)]
        verdict = self.subject.judge(secret, ended.best, others=others, show=False)
        null = fmean(self.psnr(other, ended.best) for other in others)
        line = {
            "key": key,
            "setting": name,
            "attack": attack.name,
            "index": index,
            **verdict.scores,
            **verdict.measures,
            "null_psnr_db": null,
            "null_ssim": verdict.null["ssim"],
            "trivial_ssim": verdict.trivial["ssim"],
            "residual": None if ended.best is None else ended.best.residual,
            "seconds": time.process_time() - began,
        }
        with LOG.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.done[key] = line
        print(key, f"{line['psnr_db']:.1f} dB, residual {line['residual']:.1e}, {line['seconds']:.0f} s", flush=True)
        return line

    def psnr(self, secret: Images, guess: Any) -> float:
        """Return the ratio of a guess and any one image."""
        return self.subject.judge(secret, guess, others=(), show=False).measures["psnr_db"]


def lines() -> list[dict[str, Any]]:
    """Return what was measured; a last line cut short by a kill is passed over."""
    if not LOG.exists():
        return []
    return [json.loads(line) for line in LOG.read_text(encoding="utf-8").split("\n")[:-1]]


def clean(bench: Bench, layer: int, count: int = COUNT) -> None:
    """Attack the attention block's output of one layer, as it is."""
    surface = ImageActivationSurface(select=f"{layer}.block")
    for index in range(count):
        bench.run(f"layer {layer} block", surface, ImageNewton(), index)


def middle(bench: Bench) -> None:
    """Attack the attention block's output of the two middle layers, with public pictures at hand."""
    for layer in (3, 2):
        surface = ImageActivationSurface(select=f"{layer}.block")
        for index in range(COUNT):
            bench.run(f"layer {layer} block, {PUBLIC} {HELD}", surface, ImageNewton(), index, informed=True)


def published(bench: Bench) -> None:
    """Attack a few images by descent with total variation."""
    for layer in (0, 3):
        for index in range(FEW):
            surface = ImageActivationSurface(select=f"{layer}.block")
            bench.run(f"layer {layer} block", surface, ImageMatch(), index)


def robust(bench: Bench) -> None:
    """Attack a few images of which less is shown: noise, coarse numbers, missing rows."""
    plain = ImageActivationSurface(select="0.block")
    variants = {f"noise {noise:g}": plain.with_release(Release(noise=noise)) for noise in NOISES}
    variants |= {dtype: plain.with_release(Release(dtype=dtype)) for dtype in ("bfloat16", "int8")}
    variants |= {f"missing {share:g}": ImageActivationSurface(select="0.block", missing=share) for share in (0.25, 0.5)}
    for name, surface in variants.items():
        for index in range(FEW):
            bench.run(f"layer 0 block, {name}", surface, ImageNewton(), index)


def pictures(bench: Bench) -> None:
    """Write a sheet for the docs: secrets above what came back of layer 0, of the middle layer, and by descent."""
    columns, rows = 8, [bench.items[:8]]
    for layer, attack in ((0, ImageNewton()), (3, ImageNewton()), (3, ImageMatch())):
        row = []
        for index in range(columns):
            surface = ImageActivationSurface(select=f"{layer}.block")
            name = f"layer {layer} block"
            seen = surface.observe(bench.subject.victim(bench.items[index]), generator(0, "observe", name, index))
            ended = attempt(attack, seen, generator(0, attack.name, name, index), seconds=SECONDS)
            found = None if ended.best is None else ended.best.images
            row.append(Images(pixels=torch.zeros_like(bench.items[0].pixels) if found is None else found))
        rows.append(tuple(row))
    sheet(rows, PICTURES / "activation-images.png")


def sheet(rows: Sequence[Sequence[Images]], path: Path) -> None:
    """Write rows of images as one picture, each pixel two by two, with white between them."""
    tiles = [[np.asarray(item.pixels[0, 0]).clip(0, 1) for item in row] for row in rows]
    side = tiles[0][0].shape[0] + 2
    canvas = np.ones((side * len(tiles), side * len(tiles[0])))
    for down, row in enumerate(tiles):
        for across, tile in enumerate(row):
            canvas[down * side + 1 : (down + 1) * side - 1, across * side + 1 : (across + 1) * side - 1] = tile
    levels = (canvas * 255).round().astype(np.uint8).repeat(2, 0).repeat(2, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(levels).save(path, "PNG", optimize=True)


def rows() -> list[Row]:
    """Return the rows of what the log holds."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for line in lines():
        found.setdefault((line["setting"], line["attack"]), []).append(line)
    bars = {("layer 0 block", ImageNewton.name): 60.0, ("layer 3 block", ImageNewton.name): 30.0}
    bars |= {(f"layer {layer} block, {PUBLIC} {HELD}", ImageNewton.name): 30.0 for layer in (2, 3)}
    made = []
    for (setting, attack), group in found.items():
        value, bar = fmean(line["psnr_db"] for line in group), bars.get((setting, attack))
        full = sum(line["recovered"] for line in group)
        made.append(
            Row(
                setting=f"ViT on Fashion-MNIST, {setting}, {attack}: mean PSNR",
                bar="reported" if bar is None else f">= {bar:g}",
                measured=round(value, 1),
                unit="dB",
                holds=bar is None or (value >= bar and len(group) >= COUNT),
                control=f"other images {fmean(line['null_psnr_db'] for line in group):.1f}, "
                f"grey {fmean(line['trivial_psnr_db'] for line in group):.1f}",
                n=len(group),
                seconds=round(sum(line["seconds"] for line in group), 1),
                command=COMMAND,
                reason=("" if bar is None or len(group) >= COUNT else f"{len(group)} of the bar's {COUNT} images; ")
                + f"{full:.0f} of {len(group)} at 30 dB or more, "
                f"lowest {min(line['psnr_db'] for line in group):.1f} dB",
            )
        )
    return made


def measured(names: Sequence[str] = ()) -> list[Row]:
    """Measure the named parts, all by default, and return the rows of the log."""
    bench = Bench()
    parts = {
        "clean": lambda: clean(bench, 0),
        "deeper": lambda: clean(bench, 3),
        "second": lambda: clean(bench, 2),
        "middle": lambda: middle(bench),
        "published": lambda: published(bench),
        "robust": lambda: robust(bench),
        "pictures": lambda: pictures(bench),
        "rows": lambda: None,
    }
    for name in names or parts:
        parts[name]()
    return rows()


def main(names: list[str]) -> None:
    """Measure the named parts, all by default, and rewrite their rows."""
    threads()
    save("attention", measured(names))


if __name__ == "__main__":
    main(sys.argv[1:])
