"""Real images from a local folder: CIFAR-10 as a parquet file of encoded pictures."""

import io

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image

from benchmarks.harness import DATA

VEHICLES = (0, 1, 8, 9)
"""Labels of aeroplane, automobile, ship and truck; the others are animals."""


def cifar(count: int, skip: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images (count, 3, 32, 32) in [0, 1], float64, and labels (count,): 1 vehicle, 0 animal."""
    file = pq.ParquetFile(DATA / "cifar10" / "train.parquet")
    batch = next(file.iter_batches(batch_size=skip + count))
    rows = batch["img"].to_pylist()[skip:]
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(row["bytes"])).convert("RGB")) for row in rows])
    labels = torch.tensor([label in VEHICLES for label in batch["label"].to_pylist()[skip:]]).long()
    return torch.tensor(pixels).permute(0, 3, 1, 2).double() / 255, labels
