"""OpenFHE against the simulator: the same values, levels and counts. Skipped where no worker can be started."""

import numpy as np
import pytest

from unmask.errors import BadInput
from unmask.he import environment
from unmask.he.errors import BackendError, LevelExhausted, NoKey
from unmask.he.linear_map import LinearMap
from unmask.he.openfhe import OpenFheEvaluator, OpenFheKeyHolder, as_given
from unmask.he.parameters import Parameters
from unmask.he.process import Worker
from unmask.he.simulator import SimulatedEvaluator, SimulatedKeyHolder
from unmask.poly.noise import Noise
from unmask.poly.polynomial import Polynomial

PYTHON = environment.find()
pytestmark = pytest.mark.skipif(PYTHON is None, reason="no environment for OpenFHE: run unmask he setup")


class Session:
    """A client and a server in two workers, and the same in the simulator."""

    def __init__(self, folder, rotations):
        self.client = Worker(PYTHON, "client")
        header = {"parameters": as_given(PARAMETERS), "rotations": rotations, "folder": str(folder)}
        answer, (self.secret,) = self.client.ask("generate", header)
        public = (folder / "public.key").read_bytes()
        self.holder = OpenFheKeyHolder(self.client, PARAMETERS, "key", self.secret, public)
        self.server = Worker(PYTHON, "server")
        self.evaluator = OpenFheEvaluator(
            self.server,
            PARAMETERS,
            key="key",
            folder=folder,
            files=answer["files"],
            rotations=frozenset(rotations),
        )


PARAMETERS = Parameters(ring=14, levels=5, scale=40)
STEPS = [1, 2, 3, 5, 7, 8, 16, 64, 8000, 8191]


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    made = Session(tmp_path_factory.mktemp("keys"), STEPS)
    yield made
    made.holder.close()
    made.evaluator.close()


def circuit(evaluator, first, second):
    """Every operation but the bootstrap, on two ciphertexts."""
    rows = np.random.default_rng(3).uniform(-1, 1, (6, evaluator.slots))
    a, b = evaluator.load(first), evaluator.load(second)
    many = evaluator.rotate_many(a, [0, 5, 7])
    one = LinearMap(diagonals={(0, 0): rows[0], (0, 1): rows[1], (64, 2): rows[2], (16, 0): rows[3]}, bias=rows[4])
    two = LinearMap(diagonals={(8, 1): rows[5]})
    held = [evaluator.prepare(one, 4), evaluator.prepare(two, 4, streamed=True)]
    cubic = Polynomial(coefficients=(0.1, -0.5, 0.2, 0.4), interval=(-1.0, 1.0))
    return {
        "added": evaluator.add(a, b),
        "subtracted": evaluator.subtract(b, a),
        "plain sum": evaluator.add_plain(a, evaluator.encode(rows[0], 4)),
        "constant": evaluator.add_constant(a, -0.25),
        "plain product": evaluator.multiply_plain(a, evaluator.encode(rows[1], 5)),
        "product": evaluator.multiply(a, b),
        "square": evaluator.multiply(b, b),
        "products": evaluator.multiply_sum([(a, b), (many[1], many[2]), (a, a)]),
        "weighted": evaluator.combine([a, b, many[1]], [0.5, -2.0, 1.25], 0.75),
        "turned": evaluator.rotate(b, -1),
        "dropped": evaluator.drop(a, 0),
        **{f"map {k}": y for k, y in enumerate(evaluator.linear(a, held))},
        "polynomial": evaluator.polynomial(a, cubic),
        "wide polynomial": evaluator.polynomial(b, Polynomial(coefficients=(0.0, 1.0, 0.5), interval=(-3.0, 1.0))),
    }


def test_both_backends_agree_in_value_level_and_count(session):
    x, y = np.random.default_rng(2).uniform(-1, 1, (2, PARAMETERS.slots))
    results = circuit(session.evaluator, session.holder.encrypt(x), session.holder.encrypt(y, 3))
    chance = np.random.default_rng(0)
    clear = SimulatedEvaluator(PARAMETERS, chance, noise=Noise.none(), rotations=frozenset(STEPS))
    client = SimulatedKeyHolder(parameters=PARAMETERS, generator=chance, noise=Noise.none())
    expected = circuit(clear, client.encrypt(x), client.encrypt(y, 3))
    for name, ciphertext in results.items():
        assert ciphertext.level == expected[name].level, name
        found = session.holder.decrypt(session.evaluator.serialise(ciphertext))
        np.testing.assert_allclose(found, expected[name].values, rtol=0, atol=1e-5, err_msg=name)
    assert session.evaluator.counts == clear.counts


def test_a_refused_command_is_told_and_the_worker_lives_on(session):
    a = session.evaluator.load(session.holder.encrypt(np.ones(4), 1))
    spent = session.evaluator.drop(a, 0)
    with pytest.raises(LevelExhausted):
        session.evaluator.multiply(spent, a)
    with pytest.raises(NoKey, match="4"):
        session.evaluator.rotate(a, 4)
    session.server.tell("rotate", {"to": session.server.number(), "of": [a.number], "step": 4})
    with pytest.raises(BackendError, match="rotate"):
        session.evaluator.wait()
    values = session.holder.decrypt(session.evaluator.serialise(session.evaluator.add(a, a)))
    np.testing.assert_allclose(values[:5], [2, 2, 2, 2, 0], atol=1e-5)


def test_foreign_and_damaged_ciphertexts_are_refused(session):
    good = session.holder.encrypt(np.ones(4))
    for bad in (good[:-40], good + b"x", b"UNMASKHE", b"{}"):
        with pytest.raises(BadInput, match="ciphertext"):
            session.evaluator.load(bad)
    simulated = SimulatedKeyHolder(parameters=PARAMETERS, generator=np.random.default_rng(0), key="key")
    with pytest.raises(BadInput, match="none of this library"):
        session.evaluator.load(simulated.encrypt(np.ones(4)))
    assert session.evaluator.load(good).level == PARAMETERS.levels


def test_a_server_worker_has_no_command_that_takes_a_secret(session):
    for command in ("generate", "decrypt", "encrypt"):
        with pytest.raises(BackendError, match="KeyError"):
            session.server.ask(command, {"parameters": as_given(PARAMETERS)}, [session.secret])


def test_a_worker_that_has_gone_says_so():
    worker = Worker(PYTHON, "server")
    worker.close()
    with pytest.raises(BackendError, match="closed"):
        worker.ask("wait", {})
    starved = Worker(PYTHON, "server", memory=1 << 20)
    with pytest.raises(BackendError, match="has gone"):
        starved.ask("wait", {})
    starved.close()
