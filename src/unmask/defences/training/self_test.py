"""The self-test of a private training: does the step that is taken do what the accountant assumes?

It runs on random public texts before any private one is read, on copies of the model that is going to be trained.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from unmask.defences.training.draws import poisson
from unmask.defences.training.losses import chosen, joined, losses, refuse
from unmask.defences.training.plan import Privacy, Training
from unmask.defences.training.step import PrivateStep
from unmask.errors import BadInput
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


@dataclass(frozen=True, kw_only=True)
class Check:
    """One property that the guarantee rests on.

    Args:
        name: what was checked.
        passed: whether it holds.
        measured: what was found.
        expected: what had to be found.
    """

    name: str
    passed: bool
    measured: str
    expected: str

    def __str__(self) -> str:
        return f"{'passed' if self.passed else 'FAILED'}: {self.name}: {self.measured} ({self.expected})"


def self_test(
    model: TorchModel,
    training: Training,
    privacy: Privacy,
    records: int,
    *,
    randomness: Randomness | None = None,
    make: Maker | None = None,
    sampler: Sampler = poisson,
) -> tuple[Check, ...]:
    """Return what the step and the draws of a private training really do, beside what they have to do.

    Checked are: no example is mixed with another and no parameter has two owners; each example's gradient, against
    one backward pass for it alone; each clipped contribution against C; the noise's mean, deviation and freshness
    against sigma C / (q N); which parameters move, of those that are trained and those that are not; an empty
    batch; and the draws against the rate that is accounted for.

    Args:
        model: the public model.
        training: how it will be trained.
        privacy: noise and clipping.
        records: N, number of training examples.
        randomness: source of texts, noise and draws, by default the system's.
        make: makes the step that is tested, by default the one that is used.
        sampler: the draws that are tested, by default those that are used.

    Raises:
        MissingExtra: if Opacus is not installed.
    """
    source = randomness or Randomness()
    build = make or partial(_made, model, training)
    batch = decoys(model, source)
    try:
        module = copy.deepcopy(model.module)
        refuse(module, chosen(model, module, training.train))
    except BadInput as error:
        return (Check(name="separate examples", passed=False, measured=str(error), expected="none mixed or tied"),)
    separate = Check(
        name="separate examples", passed=True, measured="none mixed or tied", expected="none mixed or tied"
    )
    try:
        return (
            separate,
            _gradients(model, build, batch, source),
            _clipping(model, build, batch, source),
            *_noise(model, build, privacy, source),
            *_moved(model, build, training, privacy, batch, source),
            _drawn(training, records, sampler, source),
        )
    except BadInput as error:
        return (separate, Check(name="a step", passed=False, measured=str(error), expected="is taken"))


def decoys(model: TorchModel, randomness: Randomness) -> Secret:
    """Return random public texts of unequal lengths with random labels, filled to one batch.

    Args:
        model: whose vocabulary they are drawn from.
        randomness: source of the draws.
    """
    vocabulary = model.vocabulary
    ordinary = [i for i in range(vocabulary.size) if i not in vocabulary.special]
    found = []
    for length in LENGTHS if vocabulary.pad is not None and model.masks else (LENGTHS[0],) * BATCH:
        inner = max(2, min(length, model.max_length) - len(vocabulary.prefix) - len(vocabulary.suffix))
        row = [
            *vocabulary.prefix,
            *(ordinary[randomness.below(len(ordinary))] for _ in range(inner)),
            *vocabulary.suffix,
        ]
        labels = None if model.classes is None else torch.tensor([randomness.below(model.classes)])
        found.append(Secret(ids=torch.tensor([row]), mask=torch.ones(1, len(row)).bool(), labels=labels, texts=("",)))
    return joined(found, vocabulary.pad or 0)


def _made(
    model: TorchModel, training: Training, module: nn.Module, noise: float, clip: float, source: Randomness
) -> PrivateStep:
    trained = chosen(model, module, training.train)
    # Plain descent of size 1: the parameters' move is the released gradient.
    return PrivateStep(
        module,
        partial(losses, model),
        trained,
        torch.optim.SGD(list(trained.values()), lr=1.0),
        noise=noise,
        clip=clip,
        expected=float(BATCH),
        randomness=source,
    )


def _gradients(model: TorchModel, build: Maker, batch: Secret, source: Randomness) -> Check:
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


def _clipping(model: TorchModel, build: Maker, batch: Secret, source: Randomness) -> Check:
    worst, least = 0.0, math.inf
    for row in range(batch.size):
        for share in (0.5, 2.0):
            # A step with C at half of the gradient's norm, and at twice it, where nothing may be clipped.
            norm = _norm(build(copy.deepcopy(model.module), 0.0, 1.0, source).samples(_row(batch, row)))
            clip = share * max(norm, 1e-6)
            released = BATCH * _norm(_move(build(copy.deepcopy(model.module), 0.0, clip, source), [_row(batch, row)]))
            worst, least = max(worst, released / clip), min(least, released / min(clip, norm))
    return Check(
        name="clipped contribution over C",
        passed=worst <= 1 + 1e-4 and least >= 0.99,
        measured=f"at most {worst:.5f}; {least:.3f} of min(C, norm) or more",
        expected="at most 1, and nothing scaled further than it has to be",
    )


def _noise(model: TorchModel, build: Maker, privacy: Privacy, source: Randomness) -> tuple[Check, ...]:
    drawn = [_flat(_move(build(copy.deepcopy(model.module), privacy.noise, privacy.clip, source), [])) for _ in "ab"]
    wanted = privacy.noise * privacy.clip / BATCH
    both = torch.cat(drawn).double() / wanted
    # Rounding to the parameters' own format takes part: it is 1e-7 of weights of size one.
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


def _moved(
    model: TorchModel, build: Maker, training: Training, privacy: Privacy, batch: Secret, source: Randomness
) -> tuple[Check, ...]:
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


def _drawn(training: Training, records: int, sampler: Sampler, source: Randomness) -> Check:
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


def _move(step: PrivateStep, batches: Sequence[Secret]) -> dict[str, Tensor]:
    # Read in the hook, before the weights take it in and round it.
    released: dict[str, Tensor] = {}

    def keep(_: object) -> None:
        step.add_noise()
        for name, parameter in step.trained.items():
            assert parameter.grad is not None  # the optimiser has just written it
            released[name] = parameter.grad.detach().clone()

    step.optimiser.attach_step_hook(keep)
    step.take(batches)
    return released


def _row(batch: Secret, row: int) -> Secret:
    length = batch.lengths[row]
    labels = None if batch.labels is None else batch.labels[row : row + 1]
    return replace(batch, ids=batch.ids[row : row + 1, :length], mask=batch.mask[row : row + 1, :length], labels=labels)


def _norm(tensors: dict[str, Tensor]) -> float:
    return math.sqrt(sum(float(tensor.double().square().sum()) for tensor in tensors.values()))


def _flat(tensors: dict[str, Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors.values()])
