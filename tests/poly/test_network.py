import numpy as np
import pytest
import torch

from tests.poly.networks import network
from unmask.errors import BadInput
from unmask.poly.polynomial import Polynomial
from unmask.poly.storage import load_network, save_network


def slow(net, x):
    """The same with loops over heads and pairs, in torch."""

    def line(a, v):
        return v @ torch.as_tensor(a.weight).T + torch.as_tensor(a.bias)

    x = torch.as_tensor(x)
    x = (x if net.embedding is None else line(net.embedding, x)) + torch.as_tensor(net.position)
    for block in net.blocks:
        at = block.attention
        q, k, v = line(at.query, x), line(at.key, x), line(at.value, x)
        mixed, size = torch.zeros_like(q), net.width // at.heads
        for h in range(at.heads):
            cut = slice(h * size, (h + 1) * size)
            for i in range(net.tokens):
                for j in range(net.tokens):
                    score = at.scale[h] * float(q[0, i, cut] @ k[0, j, cut]) + at.shift[h]
                    weight = float(at.activation(np.array(score))) * (1.0 if at.mask is None else at.mask[i, j])
                    mixed[0, i, cut] += weight * v[0, j, cut]
        x = x + line(at.output, mixed)
        ff = block.feed_forward
        x = x + line(ff.fall, torch.as_tensor(ff.activation(line(ff.rise, x).numpy())))
    pooled = {"mean": x.mean(1), "first": x[:, 0], "last": x[:, -1], "all": x}[net.pooling]
    return line(net.head, pooled).numpy()


@pytest.mark.parametrize(("pooling", "causal"), [("mean", False), ("first", False), ("last", True), ("all", True)])
def test_forward_is_the_slow_twin(pooling, causal):
    net = network(1, pooling=pooling, causal=causal)
    x = np.random.default_rng(2).standard_normal((1, net.tokens, net.inputs))
    assert np.allclose(net.forward(x), slow(net, x), atol=1e-12)


def test_a_batch_is_each_by_itself():
    net = network(3)
    x = np.random.default_rng(4).standard_normal((3, net.tokens, net.inputs))
    alone = np.concatenate([net.forward(row[None]) for row in x])
    assert np.allclose(net.forward(x), alone, atol=1e-12)


def test_a_network_survives_its_folder(tmp_path):
    net = network(5, causal=True, inputs=None)
    again = load_network(save_network(net, tmp_path / "net"))
    x = np.random.default_rng(6).standard_normal((2, net.tokens, net.inputs))
    assert np.array_equal(net.forward(x), again.forward(x))
    assert again.polynomials().keys() == net.polynomials().keys()


def test_trace_names_what_each_polynomial_is_applied_to():
    net = network(7)
    x = np.zeros((1, net.tokens, net.inputs))
    assert net.polynomials().keys() <= net.trace(x).keys()


def test_another_shape_is_refused():
    with pytest.raises(BadInput, match="another shape"):
        network().forward(np.zeros((1, 5, 6)))


@pytest.mark.parametrize("spoil", ["version", "nan", "lost", "text"])
def test_a_broken_folder_is_refused(tmp_path, spoil):
    net = network(8)
    if spoil == "nan":
        net.position[0, 0] = np.nan
    folder = save_network(net, tmp_path)
    shape = folder / "network.json"
    if spoil == "version":
        shape.write_text(shape.read_text().replace('"version": 1', '"version": 9'))
    if spoil == "lost":
        (folder / "network.safetensors").unlink()
    if spoil == "text":
        shape.write_text("{")
    with pytest.raises(BadInput, match="folder"):
        load_network(folder)


def test_a_polynomial_knows_its_interval():
    cube = Polynomial(coefficients=(0.0, 0.75, 0.0, 0.25), interval=(-1.0, 1.0))
    x = np.linspace(-1, 1, 9)
    assert np.allclose(cube(x), x**3)
    assert np.allclose(cube.monomials(), [0, 0, 0, 1])
    assert cube.outside(np.array([-1.5, 0.0, 1.25])) == 0.5
    assert Polynomial.from_json(cube.to_json()).coefficients == cube.coefficients


@pytest.mark.parametrize(
    ("coefficients", "interval"), [((), (0.0, 1.0)), ((float("nan"),), (0.0, 1.0)), ((1.0,), (1.0, 1.0))]
)
def test_a_wrong_polynomial_is_refused(coefficients, interval):
    with pytest.raises(BadInput):
        Polynomial(coefficients=coefficients, interval=interval)
