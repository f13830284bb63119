"""Torch layers: one forward in training and as polynomials, and exactly the plain network once folded."""

import numpy as np
import pytest
import torch

from unmask.errors import BadInput
from unmask.poly.conversion.fit import fit
from unmask.poly.conversion.ranges import Range, measure, sites, watching
from unmask.poly.layers.activation import Activation, chebyshev
from unmask.poly.layers.attention import PLACEMENTS, Weights
from unmask.poly.layers.fold import fold
from unmask.poly.layers.norm import BatchNorm, FeatureNorm
from unmask.poly.layers.transformer import Form, Transformer
from unmask.poly.polynomial import Polynomial
from unmask.rng import generator

SMALL = {"inputs": 6, "tokens": 5, "width": 8, "heads": 2, "hidden": 12, "classes": 3}


def trained(form: Form, degree: int = 3) -> Transformer:
    """A model in float64 whose batch norms have seen data and whose activations are polynomials."""
    model = Transformer(form, generator(0, "model")).double()
    draw = generator(0, "inputs")
    shape = (16, form.tokens, form.inputs)
    for _ in range(3):
        model(torch.randn(shape, generator=draw, dtype=torch.float64))
    with torch.no_grad():
        for child in model.modules():
            if isinstance(child, BatchNorm):
                child.weight.add_(0.3 * torch.randn(child.weight.shape, generator=draw))
                child.bias.add_(0.3 * torch.randn(child.bias.shape, generator=draw))
    seen = measure(model, [torch.randn(shape, generator=draw, dtype=torch.float64)], draw)
    for path, site in sites(model).items():
        site.substitute(fit(site.function, degree, seen[path]))
    return model.double().eval()


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_folded_network_is_the_torch_model(placement: str) -> None:
    model = trained(Form(**SMALL, placement=placement))
    x = torch.randn(7, 5, 6, generator=generator(1), dtype=torch.float64)
    wanted = model(x).detach().numpy()
    np.testing.assert_allclose(fold(model).forward(x.numpy()), wanted, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("pooling", ["mean", "first", "last", "all"])
def test_every_pooling_and_inputs_scaled_by_the_client_fold(pooling: str) -> None:
    model = trained(Form(**SMALL, pooling=pooling, extra_norms=False, activation="silu"))  # type: ignore[arg-type]
    x = torch.rand(4, 5, 6, generator=generator(2), dtype=torch.float64)
    shift, scale = torch.linspace(0, 1, 6), torch.linspace(1, 3, 6)
    wanted = model((x - shift) * scale).detach().numpy()
    found = fold(model, shift=shift, scale=scale).forward(x.numpy())
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-11)


def test_causal_model_folds_with_its_mask() -> None:
    form = Form(**SMALL | {"inputs": 11}, kind="decoder", pooling="all")
    model = Transformer(form, generator(0)).double()
    draw = generator(3)
    numbers = torch.randint(11, (9, 5), generator=draw)
    model(numbers)
    for path, site in sites(model).items():
        site.substitute(fit(site.function, 2, measure(model, [numbers], draw)[path]))
    model = model.double().eval()
    looked_up = model.embedding(numbers).detach().numpy()
    found = fold(model).forward(looked_up)
    np.testing.assert_allclose(found, model(numbers).detach().numpy(), rtol=1e-11, atol=1e-12)
    changed = numbers.clone()
    changed[:, -1] = (changed[:, -1] + 1) % 11
    moved = fold(model).forward(model.embedding(changed).detach().numpy())
    np.testing.assert_allclose(found[:, :-1], moved[:, :-1], atol=1e-13)
    assert np.abs(found[:, -1] - moved[:, -1]).max() > 1e-3


def test_norms_after_the_sums_fold_by_a_change_of_coordinates() -> None:
    model = trained(Form(**SMALL, order="post", layers=3))
    x = torch.randn(7, 5, 6, generator=generator(1), dtype=torch.float64)
    np.testing.assert_allclose(fold(model).forward(x.numpy()), model(x).detach().numpy(), rtol=1e-10, atol=1e-11)


def test_what_has_no_plain_form_is_named() -> None:
    with pytest.raises(BadInput, match="norm 'layer' does not fold"):
        fold(Transformer(Form(**SMALL, norm="layer"), generator(0)))
    with pytest.raises(BadInput, match="attention 'power' has no plain form"):
        fold(Transformer(Form(**SMALL, attention="power"), generator(0)))
    with pytest.raises(BadInput, match="no polynomial"):
        fold(Transformer(Form(**SMALL), generator(0)))


def test_activation_becomes_its_polynomial_and_keeps_degree_over_a_change_of_interval() -> None:
    site = Activation("gelu")
    x = torch.linspace(-2, 2, 41, dtype=torch.float64)
    polynomial = Polynomial(coefficients=(0.3, 0.5, 0.2, 0.0), interval=(-3.0, 2.5))
    site.substitute(polynomial)
    site.double()
    np.testing.assert_allclose(site(x).detach().numpy(), polynomial(x.numpy()), atol=1e-7)
    moved = site.polynomial((-9.0, 4.0))
    assert moved.degree == 3
    np.testing.assert_allclose(moved(x.numpy()), site(x).detach().numpy(), atol=1e-12)


def test_fit_is_close_where_the_inputs_are() -> None:
    sample = torch.randn(20000, generator=generator(4))
    seen = Range(low=float(sample.min()), high=float(sample.max()), sample=sample)
    x = torch.linspace(-1.5, 1.5, 200, dtype=torch.float64)
    worst = [
        float(np.abs(fit("gelu", degree, seen)(x.numpy()) - torch.nn.functional.gelu(x).numpy()).max())
        for degree in (2, 4, 8)
    ]
    assert worst[0] < 0.2 and worst[1] < 0.08 and worst[2] < 0.01
    root = Range(low=0.5, high=8.0, sample=torch.rand(5000, generator=generator(5)) * 7.5 + 0.5)
    assert fit("inverse-sqrt", 9, root).error < 0.025  # on [0.5 / 1.2, 8 * 1.2]
    with pytest.raises(BadInput, match="pole"):
        fit("inverse", 3, Range(low=-1.0, high=1.0, sample=sample))


@pytest.mark.parametrize("centred", [True, False])
def test_feature_norm_is_torch_s_until_its_root_is_a_polynomial(centred: bool) -> None:
    own = FeatureNorm(8, centred=centred).double()
    x = torch.randn(20, 8, generator=generator(6), dtype=torch.float64) * 1.3
    other = torch.nn.LayerNorm(8) if centred else torch.nn.RMSNorm(8, eps=1e-5)
    np.testing.assert_allclose(own.eval()(x).detach(), other.double()(x).detach(), atol=1e-12)
    seen = measure(own, [x], generator(7))["inverse_root"]
    own.inverse_root.substitute(fit("inverse-sqrt", 9, seen))
    own.double()
    assert float((own(x) - other(x)).detach().abs().max()) < 0.02


def test_a_reciprocal_over_a_wide_interval_keeps_its_digits() -> None:
    x = torch.logspace(-1, 3, 400, dtype=torch.float64)
    site = Activation("inverse")
    site.substitute(fit("inverse", 511, Range(low=0.1, high=1000.0, sample=x.float()), margin=1.01))
    exact = site.polynomial()(x.numpy())
    np.testing.assert_allclose(exact, 1 / x, rtol=2e-3)
    found = site(x.float())
    assert found.dtype is torch.float32
    np.testing.assert_allclose(found.detach().numpy(), exact, rtol=3e-5)
    narrow = torch.tensor(site.polynomial().coefficients).float()
    assert site.interval is not None
    worse = chebyshev(x.float(), narrow, site.interval).numpy()
    np.testing.assert_array_less(5 * np.abs(found.detach().numpy() / exact - 1).max(), np.abs(worse / exact - 1).max())


@pytest.mark.parametrize("centred", [True, False])
def test_feature_norm_in_training_is_the_library_s_and_what_it_is_in_evaluation(centred: bool) -> None:
    own = FeatureNorm(8, centred=centred).double()
    with torch.no_grad():
        own.weight.copy_(torch.rand(8, generator=generator(9)))
    x = torch.randn(20, 8, generator=generator(6), dtype=torch.float64).requires_grad_()
    side = torch.randn(20, 8, generator=generator(7), dtype=torch.float64)

    def both() -> list[torch.Tensor]:
        out = own(x)
        return [out, *torch.autograd.grad((out * side).sum(), [x, *own.parameters()])]

    fast, slow = both(), (own.eval(), both())[1]
    for found, wanted in zip(fast, slow, strict=True):
        np.testing.assert_allclose(found.detach(), wanted.detach(), atol=1e-12)
    own.train()
    with watching(own) as seen:
        own(x)
    np.testing.assert_allclose(seen["inverse_root"][1].detach(), _moment(x, centred).detach() + 1e-5, atol=1e-12)
    with watching(own, poles=False) as seen:
        own(x)
    assert not seen


def _moment(x: torch.Tensor, centred: bool) -> torch.Tensor:
    return (x.var(-1, keepdim=True, unbiased=False) if centred else x.square().mean(-1, keepdim=True)).double()


def test_power_weights_are_normalised_and_so_is_their_polynomial_form() -> None:
    scores = 1.0 + 0.2 * torch.randn(3, 2, 5, 5, generator=generator(8), dtype=torch.float64)
    mask = torch.ones(5, 5).double().tril()
    weights = Weights("power", 2, epsilon=1e-9).double()
    exact = weights(scores, mask)
    plain = scores**4 * mask
    np.testing.assert_allclose(exact, plain / plain.sum(-1, keepdim=True), atol=1e-6)
    assert weights.activation is not None
    mean = plain.sum(-1) / mask.sum(-1)
    seen = Range(low=float(mean.min()), high=float(mean.max()), sample=mean.flatten())
    weights.activation.substitute(fit("inverse", 15, seen))
    weights.double()
    np.testing.assert_allclose(weights(scores, mask).detach(), exact, atol=0.01)


def test_gaussian_and_softmax_attention_of_one_key_set_agree_up_to_the_norms_of_queries() -> None:
    # exp(-|q-k|^2/(2c)) = exp(q k/c) exp(-|q|^2/(2c)) exp(-|k|^2/(2c)): rows are soft-max rows reweighted by keys.
    form = Form(**SMALL, attention="gaussian", norm="layer", layers=1)
    attention = Transformer(form, generator(0)).double().blocks[0].attention
    seen: list[torch.Tensor] = []
    attention.weights.activation.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    x = torch.randn(2, 5, 8, generator=generator(9), dtype=torch.float64)
    attention(x)
    q, k = (m(x).unflatten(-1, (2, 4)).transpose(1, 2) for m in (attention.query, attention.key))
    distance = (q[..., :, None, :] - k[..., None, :, :]).square().sum(-1)
    np.testing.assert_allclose(seen[0].detach(), (-distance / (2 * 4**0.5)).detach(), atol=1e-12)


def test_statistics_of_one_batch_are_those_of_evaluation() -> None:
    norm = BatchNorm(3)
    x = 50.0 + 20.0 * torch.randn(64, 5, 3, generator=generator(11))
    trained = norm(x)
    torch.testing.assert_close(norm.eval()(x), trained, atol=0.01, rtol=0.01)


def test_unknown_names_are_refused() -> None:
    for make in (
        lambda: Activation("sine"),
        lambda: Weights("linear", 2),
        lambda: Weights("scaled", 2, placement="nowhere"),
        lambda: Weights("power", 2, power=3),
        lambda: Form(norm="group"),
        lambda: Form(width=0),
    ):
        with pytest.raises(BadInput):
            make()
