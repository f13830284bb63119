"""What the self-test measures, property by property, on copies of the model and on public texts."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from unmask.defences.training.check import Check
from unmask.defences.training.losses import chosen, losses
from unmask.defences.training.plan import Privacy, Training
from unmask.defences.training.step import PrivateStep
from unmask.privacy.sampling import Randomness
from unmask.victim import Secret
from unmask.victims.torch_model import TorchModel

Maker = Callable[[nn.Module, float, float, Randomness], PrivateStep]
"""(module, sigma, C, randomness) -> the step that is tested; an expected batch of `BATCH`."""
Sampler = Callable[[int, float, Randomness], Sequence[int]]

BATCH, LENGTHS, DRAWS, RECORDS = 4, (9, 6, 9, 4), 400, 200
AGREE = 1e-3
"""Relative error of a per-example gradient against a loop, in float32."""
LIMIT = 5.0
"""Standard errors beyond which a statistic is not chance: one in a million and a half, for one of them."""


def gradients(model: TorchModel, build: Maker, batch: Secret, source: Randomness) -> Check:
    """Return the check of each example's gradient against one backward pass for it alone."""
    step = build(copy.deepcopy(model.module), 0.0, 1.0, source)
    samples = {name: sample.detach().clone() for name, sample in step.samples(batch).items()}
    step.close()
    plain, worst, where = copy.deepcopy(model.module).eval(), 0.0, ""
    parameters = dict(plain.named_parameters())
    for row in range(batch.size):
        alone = losses(model, plain, _row(batch, row)).sum()
        found = torch.autograd.grad(alone, [parameters[name] for name in samples], allow_unused=True)
        # Against the whole gradient: a bias whose gradient is zero but for rounding has no relative error of its own.
        size = math.sqrt(sum(float(g.double().square().sum()) for g in found if g is not None))
        for (name, sample), gradient in zip(samples.items(), found, strict=True):
            exact = torch.zeros_like(sample[row]) if gradient is None else gradient
            error = float((sample[row] - exact).double().norm()) / max(size, 1e-30)
            if error > worst:
                worst, where = error, name
    return Check(
        name="each example's gradient against a loop",
        passed=worst <= AGREE,
        measured=f"largest error {worst:.1e} of the gradient's norm" + (f", at {where}" if worst > AGREE else ""),
        expected=f"at most {AGREE:g}",
    )


def clipping(model: TorchModel, build: Maker, batch: Secret, source: Randomness) -> Check:
    """Return the check of each clipped contribution, with C at half of the gradient's norm and at twice it."""
    worst, least = 0.0, math.inf
    for row in range(batch.size):
        for share in (0.5, 2.0):
            # A step with C at half of the gradient's norm, and at twice it, where nothing may be clipped.
            norm = _norm(build(copy.deepcopy(model.module), 0.0, 1.0, source).samples(_row(batch, row)))
            clip = share * max(norm, 1e-6)
            released = BATCH * _norm(build(copy.deepcopy(model.module), 0.0, clip, source).released([_row(batch, row)]))
            worst, least = max(worst, released / clip), min(least, released / min(clip, norm))
    return Check(
        name="clipped contribution over C",
        passed=worst <= 1 + 1e-4 and least >= 0.99,
        measured=f"at most {worst:.5f}; {least:.3f} of min(C, norm) or more",
        expected="at most 1, and nothing scaled further than it has to be",
    )


def noise(model: TorchModel, build: Maker, privacy: Privacy, source: Randomness) -> tuple[Check, ...]:
    """Return the checks of the noise: its mean and deviation, and that two steps do not share it."""
    drawn = [_flat(build(copy.deepcopy(model.module), privacy.noise, privacy.clip, source).released([])) for _ in "ab"]
    wanted = privacy.noise * privacy.clip / BATCH
    both = torch.cat(drawn).double() / wanted
    count, deviation, mean = len(both), float(both.std()), float(both.mean())
    error = abs(deviation - 1) * math.sqrt(2 * count)
    shared = float((drawn[0].double() * drawn[1].double()).mean()) / wanted**2 * math.sqrt(len(drawn[0]))
    return (
        Check(
            name="deviation of the noise over sigma C / (q N)",
            passed=error <= LIMIT and abs(mean) * math.sqrt(count) <= LIMIT,
            measured=f"{deviation:.4f}, mean {mean:.1e}, {count} entries",
            expected=f"1 within {LIMIT / math.sqrt(2 * count):.1e}",
        ),
        Check(
            name="two steps' noise is not the same",
            passed=abs(shared) <= LIMIT and not torch.equal(*drawn),
            measured=f"correlation {shared:+.1f} standard errors",
            expected=f"within {LIMIT:g}",
        ),
    )


def moved(
    model: TorchModel, build: Maker, training: Training, privacy: Privacy, batch: Secret, source: Randomness
) -> tuple[Check, ...]:
    """Return the checks of which parameters and buffers a step moves."""
    module = copy.deepcopy(model.module)
    names = set(chosen(model, module, training.train))
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    step = build(module, privacy.noise, privacy.clip, source)
    step.take([batch])
    step.close()
    moved = {name for name, parameter in module.named_parameters() if not torch.equal(parameter, before[name])}
    stray = [name for name, buffer in module.named_buffers() if not torch.equal(buffer, buffers[name])]
    stuck, loose = sorted(names - moved), sorted(moved - names) + stray
    return (
        Check(
            name="trained parameters that moved",
            passed=not stuck,
            measured=f"{len(names & moved)} of {len(names)}" + (f", not {stuck[0]}" if stuck else ""),
            expected="all",
        ),
        Check(
            name="other parameters and buffers that moved",
            passed=not loose,
            measured=str(len(loose)) + (f", such as {loose[0]}" if loose else ""),
            expected="none: what is not accounted for stays",
        ),
    )


def drawn(training: Training, records: int, sampler: Sampler, source: Randomness) -> Check:
    """Return the check of the draws against the rate that is accounted for."""
    # The accountant's rate, on fewer records: each is in or out by a coin of its own.
    rate, count = training.rate(records), min(records, RECORDS)
    table = torch.zeros(DRAWS, count, dtype=torch.float64)
    for row in range(DRAWS):
        table[row, list(sampler(count, rate, source))] = 1
    sizes, spread = table.sum(1), count * rate * (1 - rate)
    mean = (float(sizes.mean()) - count * rate) / math.sqrt(max(spread, 1e-12) / DRAWS)
    variance = (float(sizes.var()) / max(spread, 1e-12) - 1) / math.sqrt(2 / (DRAWS - 1) + 1 / (DRAWS * spread + 1e-12))
    usual = rate == 1 and bool((table == 1).all())
    return Check(
        name="Poisson draws at the rate that is accounted for",
        passed=usual or (abs(mean) <= LIMIT and abs(variance) <= LIMIT),
        measured=f"batch size {float(sizes.mean()):.2f} of {count * rate:.2f}, variance {float(sizes.var()):.2f} of "
        f"{spread:.2f}",
        expected=f"both within {LIMIT:g} standard errors",
    )


def _row(batch: Secret, row: int) -> Secret:
    length = batch.lengths[row]
    labels = None if batch.labels is None else batch.labels[row : row + 1]
    return replace(batch, ids=batch.ids[row : row + 1, :length], mask=batch.mask[row : row + 1, :length], labels=labels)


def _norm(tensors: dict[str, Tensor]) -> float:
    return math.sqrt(sum(float(tensor.double().square().sum()) for tensor in tensors.values()))


def _flat(tensors: dict[str, Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors.values()])
