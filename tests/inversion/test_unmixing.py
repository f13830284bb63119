import pytest
import torch
from torch.nn import functional as F

from unmask.inversion.unmixing import Corners, Unmixing, floor


def layer(seed, activation, *, d=12, hidden=96, n=5):
    """A random layer, n inputs of it, and the span of what its activation makes of them."""
    chance = torch.Generator().manual_seed(seed)
    weight, bias = torch.randn(hidden, d, generator=chance), torch.randn(hidden, generator=chance) * 0.3 - 1.0
    inputs = torch.randn(n, d, generator=chance)
    outputs = activation(inputs.double() @ weight.T.double() + bias.double())
    mixed = torch.randn(3 * n, n, generator=chance, dtype=torch.float64) @ outputs
    basis = torch.linalg.svd(mixed, full_matrices=False)[2][:n].T.contiguous()
    unmixing = Unmixing(
        basis=basis,
        weight=weight,
        bias=bias,
        activation=activation,
        centre=torch.zeros(d, dtype=torch.float64),
        generator=torch.Generator().manual_seed(seed + 1),
    )
    return inputs, outputs, unmixing


@pytest.mark.parametrize("activation", [F.gelu, F.relu, F.silu])
@pytest.mark.parametrize("seed", [0, 1])
def test_each_vector_is_found_once_whatever_mixture_was_seen(seed, activation):
    inputs, _, unmixing = layer(seed, activation)
    found = torch.stack(list(unmixing.run()))
    apart = torch.cdist(found, inputs)
    assert len(found) == len(inputs)
    assert apart.argmin(1).unique().numel() == len(inputs)
    assert apart.amin(1).max() < 1e-3


def test_nothing_is_found_in_a_strange_span():
    _, _, unmixing = layer(2, F.gelu)
    strange = torch.linalg.qr(torch.randn(96, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64))[0]
    other = Unmixing(
        basis=strange,
        weight=unmixing.weight,
        bias=unmixing.bias,
        activation=F.gelu,
        centre=unmixing.centre,
        generator=torch.Generator().manual_seed(4),
    )
    assert list(other.run()) == []


def test_a_corner_is_the_best_of_many_mixtures_above_the_floor():
    _, outputs, unmixing = layer(5, F.gelu)
    direction = unmixing.basis.T @ outputs[0]
    corner = Corners.of(unmixing.basis, F.gelu).towards(direction)
    reach = float((unmixing.basis.T @ corner) @ direction)
    assert corner.min() > floor(F.gelu) - 1e-9
    chance = torch.Generator().manual_seed(6)
    for _ in range(300):  # the slow twin: mixtures drawn at random and grown to where the floor stops them
        mixture = unmixing.basis @ torch.randn(5, generator=chance, dtype=torch.float64)
        mixture = mixture * floor(F.gelu) / mixture.min()
        assert float((unmixing.basis.T @ mixture) @ direction) <= reach + 1e-9


@pytest.mark.parametrize("known", [0, 2])
def test_a_share_is_what_a_guess_adds_outside_the_span(known):
    inputs, outputs, unmixing = layer(7, F.gelu)
    strange = torch.randn(4, 12, generator=torch.Generator().manual_seed(8))
    shares = unmixing.shares(torch.cat([inputs[known:], strange]), list(inputs[:known]))
    assert shares[: 5 - known].max() < 1e-5
    for guess, share in zip(strange, shares[5 - known :], strict=True):
        a = F.gelu(unmixing.weight.double() @ guess.double() + unmixing.bias.double())
        added = rest(a, outputs[:known].T)
        assert float(rest(a, unmixing.basis).square().sum() / added.square().sum()) == pytest.approx(
            float(share), rel=1e-3
        )


def rest(a, columns):
    """What least squares leaves of a vector."""
    return a - columns @ torch.linalg.lstsq(columns, a[:, None])[0][:, 0] if columns.shape[1] else a


def test_floors():
    assert floor(F.gelu) == pytest.approx(-0.17, abs=1e-3)
    assert floor(F.silu) == pytest.approx(-0.2785, abs=1e-3)
    assert floor(F.relu) == 0
