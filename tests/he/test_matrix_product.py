"""Encrypted matrix products against NumPy's."""

import numpy as np
import pytest

from unmask.errors import BadInput
from unmask.he.matrix_product import MatrixProduct
from unmask.he.parameters import Parameters
from unmask.he.simulator import SimulatedEvaluator, SimulatedKeyHolder
from unmask.poly.noise import Noise

PARAMETERS = Parameters(ring=14, levels=5, scale=40)


@pytest.mark.parametrize("dimension", [32, 64])
def test_values_levels_and_keys(dimension):
    chance = np.random.default_rng(dimension)
    product = MatrixProduct(dimension=dimension, slots=PARAMETERS.slots)
    client = SimulatedKeyHolder(parameters=PARAMETERS, generator=chance, noise=Noise.none())
    server = SimulatedEvaluator(PARAMETERS, chance, noise=Noise.none(), rotations=product.steps)
    A, B = chance.uniform(-1, 1, (2, dimension, dimension))
    a, b = (server.load(client.encrypt(product.pack(matrix))) for matrix in (A, B))
    result = product.prepare(server, 5)(server, a, b)
    np.testing.assert_allclose(product.unpack(client.decrypt(server.serialise(result))), A @ B, atol=1e-12)
    assert result.level == 2
    assert server.counts.products == dimension // product.copies
    assert server.counts.relinearisations == 1


def test_what_does_not_fit_is_refused():
    for dimension in (48, 128, 1):
        with pytest.raises(BadInput, match="dimension"):
            MatrixProduct(dimension=dimension, slots=PARAMETERS.slots)
