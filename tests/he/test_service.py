"""Client and server over HTTP: answers, refusals on the right side, and a server that lives on."""

import json
import os
import socket
import threading
import time

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra he is not installed")

import httpx
import uvicorn

from unmask.errors import BadInput
from unmask.he import environment, keys, query
from unmask.he.client import Client, ServerGone, ServerRefused
from unmask.he.library import library
from unmask.he.linear_layer import LinearLayer
from unmask.he.parameters import Parameters
from unmask.he.server.app import build
from unmask.he.server.limits import Limits, Refused

PARAMETERS = Parameters(ring=13, levels=2, scale=30, first=40)
BACKENDS = [
    "simulator",
    pytest.param(
        "openfhe",
        marks=pytest.mark.skipif(environment.find() is None, reason="no environment for OpenFHE: run unmask he setup"),
    ),
]


def layer(seed=0, parameters=PARAMETERS):
    chance = np.random.default_rng(seed)
    return LinearLayer(weight=chance.uniform(-1, 1, (10, 24)), bias=chance.uniform(-1, 1, 10), parameters=parameters)


INPUTS = np.random.default_rng(5).uniform(-1, 1, (2, 24))


class Site:
    """A server in this process and the keys of one client."""

    def __init__(self, tmp_path, backend="simulator", circuit=None, **limits):
        self.circuit = circuit or layer()
        self.folder = tmp_path / "client"
        self.state = tmp_path / "server"
        self.backend = library(backend)
        if not self.folder.exists():
            self.backend.make(self.folder, self.circuit.parameters, self.circuit.rotations)
        app = build(self.circuit, backend, self.state, Limits(**limits))
        self.server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="debug", lifespan="on"))
        self.thread = threading.Thread(target=self.server.run)

    def __enter__(self):
        self.thread.start()
        while not self.server.started:
            time.sleep(0.005)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}")
        self.holder, self.closing = self.backend.key_holder(self.folder)
        return self

    def __exit__(self, *_):
        self.closing.close()
        self.http.close()
        self.server.should_exit = True
        self.thread.join()

    def client(self, **more):
        return Client(self.http, self.folder, pause=0.01, patience=30.0, **more)

    def answer(self, client, inputs):
        sealed = [self.holder.encrypt(vector, self.circuit.level) for vector in self.circuit.pack(inputs)]
        answer = client.ask(self.circuit.digest, sealed)
        return self.circuit.unpack([self.holder.decrypt(part) for part in answer.ciphertexts])

    def stored(self):
        return b"".join(path.read_bytes() for path in sorted(self.state.rglob("*")) if path.is_file())


class Recorder:
    """Every byte that a client sends."""

    def __init__(self, http):
        self.sent = b""
        http.event_hooks = {"request": [self._note]}

    def _note(self, request):
        self.sent += str(request.url).encode() + repr(request.headers.raw).encode() + request.read()


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_encrypted_answer_is_the_clear_one_and_no_secret_leaves(tmp_path, backend, caplog):
    with caplog.at_level("DEBUG"), Site(tmp_path, backend) as site:
        recorder = Recorder(site.http)
        client = site.client()
        client.connect()
        for inputs in (INPUTS[:1], INPUTS[1:]):
            np.testing.assert_allclose(site.answer(client, inputs), site.circuit.clear(inputs), atol=2e-3)
        secret = keys.secret(site.folder, keys.listing(site.folder / keys.PUBLIC))
        # Any part of it would be as bad as the whole.
        parts = [secret[k : k + 24] for k in range(len(secret) // 8, len(secret) - 24, max(8, len(secret) // 50))]
        assert len(parts) > 0 or len(secret) == 32
        for part in [*parts, secret]:
            assert part not in site.stored()
            assert part not in recorder.sent
        assert site.state in (next(site.state.rglob("public.key"))).parents
        token = json.loads((site.folder / "session.json").read_text())["token"]
        assert token not in caplog.text
        client.leave()
        assert site.stored() == b""


def test_the_secret_key_is_for_its_owner_only(tmp_path):
    site = Site(tmp_path)
    path = site.folder / keys.SECRET
    assert path.stat().st_mode & 0o777 == 0o600
    assert site.folder.stat().st_mode & 0o777 == 0o700
    path.chmod(0o644)
    with pytest.raises(BadInput, match="chmod 600"):
        site.backend.key_holder(site.folder)
    with pytest.raises(BadInput, match="holds keys already"):
        site.backend.make(site.folder, PARAMETERS, (1,))


def test_an_upload_that_broke_off_goes_on_where_it_stopped(tmp_path):
    with Site(tmp_path, chunk=7) as site:
        listed = keys.listing(site.folder / keys.PUBLIC)
        begun = site.http.post("/session", content=json.dumps(listed.to_json())).json()
        headers = {"authorization": f"Bearer {begun['token']}"}
        content = (site.folder / keys.PUBLIC / "public.key").read_bytes()
        site.http.put("/keys/public.key", params={"offset": 0}, content=content[:7], headers=headers)
        early = site.http.post("/queries", content=b"x", headers=headers)
        assert early.status_code == 409 and "upload the rest" in early.json()["error"]
        text = {"server": str(site.http.base_url), "key": listed.key, "token": begun["token"]}
        (site.folder / "session.json").write_text(json.dumps(text))
        said = []
        client = site.client(say=said.append)
        client.connect()
        assert site.http.get("/session", headers=headers).json()["ready"]
        np.testing.assert_allclose(site.answer(client, INPUTS[:1]), site.circuit.clear(INPUTS[:1]), atol=2e-3)


def test_pieces_out_of_order_too_long_damaged_or_unannounced_are_refused(tmp_path):
    with Site(tmp_path, chunk=40) as site:
        listed = keys.listing(site.folder / keys.PUBLIC)
        begun = site.http.post("/session", content=json.dumps(listed.to_json())).json()
        headers = {"authorization": f"Bearer {begun['token']}"}

        def put(name, offset, content):
            answer = site.http.put(f"/keys/{name}", params={"offset": offset}, content=content, headers=headers)
            return answer.status_code

        assert put("public.key", 3, b"abc") == 409
        assert put("public.key", 0, b"x" * 33) == 413
        assert put("public.key", 0, b"x" * 41) == 413
        assert put("secret.key", 0, b"x") == 404
        assert put("..%2Fkeys.json", 0, b"x") == 404
        assert put("public.key", 0, b"x" * 32) == 422
        assert site.http.get("/session", headers=headers).json()["received"] == {"public.key": 0}
        site.client().connect()


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"library": "openfhe"}, 422),
        ({"version": 9}, 422),
        ({"parameters": Parameters(ring=14, levels=2).to_json()}, 422),
        ({"rotations": [1]}, 422),
        ({"files": [{"name": "../x.key", "size": 1, "digest": ""}]}, 422),
        ({"files": [{"name": "keys.json", "size": 1, "digest": ""}]}, 422),
        ({"files": [{"name": "public.key", "size": 10**12, "digest": ""}]}, 413),
    ],
)
def test_foreign_keys_are_refused_before_any_is_sent(tmp_path, change, status):
    with Site(tmp_path) as site:
        listed = keys.listing(site.folder / keys.PUBLIC).to_json() | change
        answer = site.http.post("/session", content=json.dumps(listed))
        assert answer.status_code == status, answer.text
        assert site.http.post("/session", content=b"{").status_code == 422
        assert site.http.post("/session", content=b"[]").status_code == 422
        assert site.http.get("/health").json()["status"] == "ok"


def test_damaged_foreign_and_repeated_queries_are_refused_and_the_next_is_served(tmp_path):
    with Site(tmp_path) as site:
        client = site.client()
        client.connect()
        headers = {"authorization": f"Bearer {json.loads((site.folder / 'session.json').read_text())['token']}"}
        key = keys.listing(site.folder / keys.PUBLIC).key
        good = site.holder.encrypt(site.circuit.pack(INPUTS[:1])[0])

        def post(content):
            return site.http.post("/queries", content=content, headers=headers)

        def sealed(key=key, package=site.circuit.digest, parts=(good,), name=None):
            return query.packed("query", name=name or query.new_name(), key=key, package=package, ciphertexts=parts)

        assert post(b"").status_code == 422
        assert post(sealed()[:-5]).status_code == 422
        assert "another package" in post(sealed(package="other")).json()["error"]
        assert "another key" in post(sealed(key="other")).json()["error"]
        assert "2 ciphertexts" in post(sealed(parts=(good, good))).json()["error"]
        assert post(b"x" * (4 << 20)).status_code == 413
        name = query.new_name()
        assert post(sealed(name=name)).status_code == 202
        assert post(sealed(name=name)).status_code == 409
        assert site.http.get(f"/queries/{query.new_name()}", headers=headers).status_code == 404
        assert site.http.get(f"/queries/{name}").status_code == 401
        # What only the backend can tell fails on its own, and is said.
        for bad in (b"junk", good[:-1], site.holder.encrypt(np.ones(3), 1)):
            with pytest.raises(ServerRefused, match=r"ciphertext|level"):
                client.ask(site.circuit.digest, [bad])
        np.testing.assert_allclose(site.answer(client, INPUTS[:1]), site.circuit.clear(INPUTS[:1]), atol=2e-3)


def test_a_client_cannot_read_the_answer_of_another(tmp_path):
    with Site(tmp_path / "a") as site:
        client = site.client()
        client.connect()
        site.answer(client, INPUTS[:1])
        headers = {"authorization": f"Bearer {json.loads((site.folder / 'session.json').read_text())['token']}"}
        other = tmp_path / "other"
        site.backend.make(other, site.circuit.parameters, site.circuit.rotations)
        stranger = Client(site.http, other, pause=0.01)
        stranger.connect()
        foreign = {"authorization": f"Bearer {json.loads((other / 'session.json').read_text())['token']}"}
        name = query.new_name()
        body = query.packed(
            "query",
            name=name,
            key=keys.listing(site.folder / keys.PUBLIC).key,
            package=site.circuit.digest,
            ciphertexts=[site.holder.encrypt(site.circuit.pack(INPUTS[:1])[0])],
        )
        assert site.http.post("/queries", content=body, headers=foreign).status_code == 422
        assert site.http.post("/queries", content=body, headers=headers).status_code == 202
        assert site.http.get(f"/queries/{name}/answer", headers=foreign).status_code == 404


def test_rate_sessions_and_memory_are_bounded(tmp_path):
    with Site(tmp_path, rate=2, sessions=1) as site:
        client = site.client()
        client.connect()
        site.answer(client, INPUTS[:1])
        site.answer(client, INPUTS[:1])
        with pytest.raises(ServerRefused, match=r"429.*a minute"):
            site.answer(client, INPUTS[:1])
        os.remove(site.folder / "session.json")
        with pytest.raises(ServerRefused, match="503"):
            site.client().connect()
    with pytest.raises(Refused, match="may take"):
        build(layer(), "simulator", tmp_path / "state", Limits(memory=1 << 20))


def test_clients_take_turns_where_memory_is_for_one(tmp_path):
    circuit = layer()
    with Site(tmp_path / "a", circuit=circuit, memory=circuit.memory + 1) as site:
        first = site.client()
        first.connect()
        other = tmp_path / "other"
        site.backend.make(other, circuit.parameters, circuit.rotations)
        second = Client(site.http, other, pause=0.01)
        second.connect()
        holder, _ = site.backend.key_holder(other)
        for _ in range(2):
            np.testing.assert_allclose(site.answer(first, INPUTS[:1]), circuit.clear(INPUTS[:1]), atol=2e-3)
            sealed = [holder.encrypt(vector, circuit.level) for vector in circuit.pack(INPUTS[1:])]
            parts = second.ask(circuit.digest, sealed).ciphertexts
            found = circuit.unpack([holder.decrypt(part) for part in parts])
            np.testing.assert_allclose(found, circuit.clear(INPUTS[1:]), atol=2e-3)


class Breaking(LinearLayer):
    """A circuit that fails at its first query."""

    failed = False

    def open(self, evaluator):
        if not Breaking.failed:
            Breaking.failed = True
            raise RuntimeError("secret words")
        return LinearLayer.open(self, evaluator)


def test_a_query_that_breaks_the_circuit_is_told_without_detail_and_the_next_is_served(tmp_path):
    plain = layer()
    circuit = Breaking(weight=plain.weight, bias=plain.bias, parameters=plain.parameters)
    with Site(tmp_path, circuit=circuit) as site:
        client = site.client()
        client.connect()
        with pytest.raises(ServerRefused, match="RuntimeError") as caught:
            site.answer(client, INPUTS[:1])
        assert "secret words" not in str(caught.value)
        np.testing.assert_allclose(site.answer(client, INPUTS[:1]), circuit.clear(INPUTS[:1]), atol=2e-3)


def test_silent_sessions_are_removed_with_their_keys(tmp_path):
    with Site(tmp_path, idle=0.05) as site:
        client = site.client()
        client.connect()
        assert site.stored()
        time.sleep(0.1)
        other = tmp_path / "other"
        site.backend.make(other, site.circuit.parameters, site.circuit.rotations)
        Client(site.http, other, pause=0.01).connect()
        with pytest.raises(ServerRefused, match="401"):
            site.answer(client, INPUTS[:1])


def test_a_client_that_hangs_up_in_the_middle_leaves_nothing_and_the_next_is_served(tmp_path):
    with Site(tmp_path) as site:
        client = site.client()
        client.connect()
        token = json.loads((site.folder / "session.json").read_text())["token"]
        head = f"POST /queries HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: 5000\r\n\r\n"
        for body in (b"", b"x" * 100):
            with socket.create_connection(("127.0.0.1", site.port)) as line:
                line.sendall(head.encode() + body)
        np.testing.assert_allclose(site.answer(client, INPUTS[:1]), site.circuit.clear(INPUTS[:1]), atol=2e-3)
        assert site.http.get("/health").json() == {"status": "ok", "version": 1, "waiting": 0}


def test_inputs_outside_the_fitted_range_never_leave_the_client():
    circuit = layer()
    for bad in (INPUTS[:1] * 3, np.full((1, 24), np.nan), np.ones((1, 3))):
        with pytest.raises(BadInput, match="inputs"):
            circuit.pack(bad)


def test_a_server_that_is_not_there_is_named(tmp_path):
    site = Site(tmp_path)
    with httpx.Client(base_url="http://127.0.0.1:9") as http, pytest.raises(ServerGone, match="unmask he serve"):
        Client(http, site.folder).connect()


@pytest.mark.parametrize(("out", "width"), [(10, 24), (24, 10), (1, 1), (100, 100)])
def test_a_layer_and_its_package_compute_the_same(tmp_path, out, width):
    chance = np.random.default_rng(out)
    made = LinearLayer(
        weight=chance.uniform(-1, 1, (out, width)), bias=chance.uniform(-1, 1, out), parameters=PARAMETERS
    )
    loaded = LinearLayer.load(made.save(tmp_path))
    assert loaded.digest == made.digest
    x = chance.uniform(-1, 1, (3, width))
    slots = [np.concatenate([v, np.zeros(PARAMETERS.slots - len(v))]) for v in loaded.pack(x)]
    np.testing.assert_allclose(loaded.unpack([loaded.map()(v) for v in slots]), made.clear(x), atol=1e-12)
    assert loaded.map().steps <= set(loaded.rotations)
    (tmp_path / "package.json").write_text("{}")
    with pytest.raises(BadInput, match="package"):
        LinearLayer.load(tmp_path)
