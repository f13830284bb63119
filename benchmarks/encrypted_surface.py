"""The ciphertext as a surface: the same attack on what a server sees in clear and on what it sees encrypted."""

import time
from pathlib import Path
from statistics import fmean, stdev

from benchmarks.rows import Row
from unmask.attacks.images.newton import ImageNewton
from unmask.auditor.attempt import attempt
from unmask.auditor.image_plan import singles
from unmask.auditor.images import ImageSubject
from unmask.defences.encrypted_activations import EncryptedActivations
from unmask.poly import demo
from unmask.rng import generator
from unmask.surfaces.image_activation import ImageActivationSurface
from unmask.victims import images, polynomial_vision

COUNT, OTHERS, SECONDS = 10, 8, 10.0
SITES = ("0.block", "1.hidden")
COMMAND = "python -m benchmarks.encrypted surface"


def rows() -> list[Row]:
    """Return two rows for each site: what the server of a polynomial network sees, in clear and encrypted."""
    model = polynomial_vision.load(Path(demo.NAME))
    items = singles(images.fit(images.sample(), model.shape))
    subject = ImageSubject(model=model, tensors=model.weights())
    found = []
    for select in SITES:
        base = ImageActivationSurface(select=select)
        for surface in (base, EncryptedActivations(base=base)):
            began, scores, null, trivial = time.monotonic(), [], [], []
            for index in range(COUNT):
                seen = surface.observe(subject.victim(items[index]), generator(0, "observe", select, index))
                ended = attempt(ImageNewton(), seen, generator(0, "newton", select, index), seconds=SECONDS)
                others = [items[(index + k) % len(items)] for k in range(1, OTHERS + 1)]
                verdict = subject.judge(items[index], ended.best, others=others, show=False)
                scores.append(verdict.scores["ssim"])
                null.append(verdict.null["ssim"])
                trivial.append(verdict.trivial["ssim"])
            seconds = round(time.monotonic() - began, 1)
            found.append(_row(select, surface.name, scores, null, fmean(trivial), seconds))
    return found


def _row(select: str, name: str, scores: list[float], null: list[float], trivial: float, seconds: float) -> Row:
    encrypted = name == EncryptedActivations.name
    excess = fmean(mine - other for mine, other in zip(scores, null, strict=True))
    # Three standard errors of the paired difference.
    allowed = 3 * stdev(mine - other for mine, other in zip(scores, null, strict=True)) / len(scores) ** 0.5
    seen = "as its ciphertext" if encrypted else "in clear"
    return Row(
        setting=f"fashion-mnist-poly, {select} {seen}, image-newton: SSIM of what comes back",
        bar="no better than the null control" if encrypted else "reported",
        measured=round(fmean(scores), 3),
        unit="",
        holds=not encrypted or excess <= allowed,
        control=round(fmean(null), 3),
        n=len(scores),
        seconds=seconds,
        command=COMMAND,
        reason=f"{SECONDS:g} s an image; null control: {OTHERS} other images a guess, trivial guess {trivial:.3f}; "
        + (f"above the control by {excess:.3f}, three standard errors {allowed:.3f}" if encrypted else "exact floats"),
    )
