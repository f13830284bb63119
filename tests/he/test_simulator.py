"""The simulator against plain NumPy: values, levels, counts, noise, refusals."""

import numpy as np
import pytest

from unmask.errors import BadInput
from unmask.he.counts import Counts
from unmask.he.errors import LevelExhausted, NoKey
from unmask.he.linear_map import LinearMap
from unmask.he.parameters import Parameters
from unmask.he.planner import refreshing
from unmask.he.simulator import SimulatedEvaluator, SimulatedKeyHolder
from unmask.poly.noise import Noise

SMALL = Parameters(ring=13, levels=1, scale=30, first=40, digits=1)
PARAMETERS = Parameters(ring=14, levels=5, scale=45)
REFRESHING = refreshing()


def pair(noise=None, parameters=PARAMETERS, **more):
    chance = np.random.default_rng(1)
    client = SimulatedKeyHolder(parameters=parameters, generator=chance, noise=noise)
    return client, SimulatedEvaluator(parameters, chance, noise=noise, **more)


def vectors(count, slots=PARAMETERS.slots):
    return np.random.default_rng(0).uniform(-1, 1, (count, slots))


def test_every_operation_does_what_it_says():
    client, server = pair(Noise.none())
    x, y, v = vectors(3)
    a, b = server.load(client.encrypt(x)), server.load(client.encrypt(y, level=3))
    clear = {
        "add": (server.add(a, b), x + y, 3),
        "subtract": (server.subtract(a, b), x - y, 3),
        "plain sum": (server.add_plain(a, server.encode(v, 4)), x + v, 4),
        "constant": (server.add_constant(a, 2.0), x + 2, 5),
        "plain product": (server.multiply_plain(a, server.encode(v, 5)), x * v, 4),
        "product": (server.multiply(a, b), x * y, 2),
        "sum of products": (server.multiply_sum([(a, b), (a, a)]), x * y + x * x, 2),
        "weighted": (server.combine([a, b], [0.5, -2.0], 1.0), 0.5 * x - 2 * y + 1, 2),
        "rotated": (server.rotate(a, -3), np.roll(x, 3), 5),
        "dropped": (server.drop(a, 1), x, 1),
    }
    for name, (ciphertext, expected, level) in clear.items():
        assert ciphertext.level == level, name
        np.testing.assert_allclose(client.decrypt(server.serialise(ciphertext)), expected, atol=1e-14, err_msg=name)
    for turned, step in zip(server.rotate_many(a, [0, 1, 7]), (0, 1, 7), strict=True):
        np.testing.assert_array_equal(client.decrypt(server.serialise(turned)), np.roll(x, -step))


def test_linear_maps_share_the_rotations_of_their_input():
    client, server = pair(Noise.none())
    x, *rows = vectors(6)
    first = LinearMap(diagonals={(0, 0): rows[0], (0, 1): rows[1], (64, 2): rows[2]}, bias=rows[3])
    second = LinearMap(diagonals={(0, 1): rows[4]})
    held = [server.prepare(first, 5), server.prepare(second, 5, streamed=True)]
    before = server.counts + Counts()
    results = server.linear(server.load(client.encrypt(x)), held)
    for ciphertext, linear_map in zip(results, (first, second), strict=True):
        assert ciphertext.level == 4
        np.testing.assert_allclose(client.decrypt(server.serialise(ciphertext)), linear_map(x), atol=1e-13)
    done = server.counts - before
    assert done == Counts(
        plain_products=4, hoisted=2, decompositions=1, rotations=1, rescales=2, encodings=1, additions=3
    )
    assert done.key_switches == 3


def test_noise_has_the_stated_deviation():
    client, server = pair()
    x = vectors(1)[0]
    noise = Noise.of(ring=PARAMETERS.ring, scale=PARAMETERS.scale)
    fresh = server.load(client.encrypt(x))
    assert (client.decrypt(server.serialise(fresh)) - x).std() == pytest.approx(noise.fresh, rel=0.05)
    turned = server.subtract(server.rotate(fresh, 1), server.drop(server.rotate(fresh, 1), 5))
    assert client.decrypt(server.serialise(turned)).std() == pytest.approx(noise.key_switch * 2**0.5, rel=0.05)


def test_a_bootstrap_refreshes_what_lies_in_the_unit_interval():
    client, server = pair(parameters=REFRESHING)
    x = vectors(1, REFRESHING.slots)[0]
    spent = server.load(client.encrypt(x, level=0))
    assert server.bootstrap(spent).level == REFRESHING.refreshed == 6
    with pytest.raises(BadInput, match="outside"):
        server.bootstrap(server.add(spent, spent))


def test_what_cannot_be_done_is_refused():
    client, server = pair(rotations=frozenset({1}))
    spent = server.load(client.encrypt(np.ones(4), level=0))
    with pytest.raises(LevelExhausted, match="no"):
        server.multiply(spent, spent)
    with pytest.raises(LevelExhausted, match="level 0"):
        server.multiply_plain(spent, server.encode(np.ones(4), 1))
    assert server.rotate(spent, 1).level == 0
    with pytest.raises(NoKey, match="2"):
        server.rotate_many(spent, [1, 2])
    for values in (np.ones(PARAMETERS.slots + 1), np.array([np.nan]), np.ones((2, 2))):
        with pytest.raises(BadInput, match="values"):
            client.encrypt(values)
    other = SimulatedKeyHolder(parameters=PARAMETERS, generator=np.random.default_rng(0), key="other")
    with pytest.raises(BadInput, match="another key"):
        other.decrypt(server.serialise(spent))
    with pytest.raises(BadInput, match="another parameters"):
        pair(parameters=SMALL)[0].decrypt(server.serialise(spent))
    for bad in (b"", b"GET / HTTP/1.1", server.serialise(spent)[:-1], server.serialise(spent)[:100]):
        with pytest.raises(BadInput, match="ciphertext"):
            client.decrypt(bad)
    flipped = bytearray(server.serialise(spent))
    flipped[500] ^= 1
    with pytest.raises(BadInput, match="damaged"):
        client.decrypt(bytes(flipped))
