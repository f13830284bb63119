"""The bundled network classifies the bundled images, inside the intervals of its polynomials."""

import numpy as np

from unmask.poly import demo
from unmask.victims.images import sample
from unmask.victims.vit import patches


def test_bundled_network_is_right_on_the_bundled_sample_and_stays_in_range() -> None:
    images, network = sample(), demo.network()
    x = patches(images.pixels, 7).double().numpy()
    trace = network.trace(x)
    assert images.labels is not None
    right = float((trace["logits"].argmax(1) == images.labels.numpy()).mean())
    assert right >= 0.8
    for name, polynomial in network.polynomials().items():
        assert polynomial.degree == 2
        assert polynomial.outside(trace[name]) == 0.0
    assert len(network.classes) == network.head.weight.shape[0] == 10
    shuffled = network.forward(np.ascontiguousarray(x[:, ::-1]))
    assert float((shuffled.argmax(1) == images.labels.numpy()).mean()) < right - 0.1  # places matter
