"""The HTTP side: sizes are checked while bytes arrive, and errors are one sentence with a status."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from unmask.errors import MissingExtra
from unmask.he.library import library
from unmask.he.servable import Servable
from unmask.he.server.jobs import Jobs, State
from unmask.he.server.limits import MIB, Limits, Refused
from unmask.he.server.sessions import Session, Sessions

try:
    from fastapi import FastAPI, Request, Response
    from fastapi.concurrency import run_in_threadpool
    from fastapi.responses import JSONResponse
    from starlette.requests import ClientDisconnect
except ImportError as error:
    raise MissingExtra("fastapi", "he") from error

VERSION = 1
LISTING = MIB
"""Bytes of a listing of keys."""


def build(circuit: Servable, backend: str, state: Path, limits: Limits) -> FastAPI:
    """Return the application.

    Args:
        circuit: what is served.
        backend: name of the library.
        state: folder for public keys; each client's is deleted with its session.
        limits: of the server.

    Raises:
        Refused: if the package takes more memory than the server may.
    """
    sessions = Sessions(state, circuit, backend, limits)
    jobs = Jobs(circuit, library(backend), limits)
    if jobs.room < 1:
        raise Refused(503, f"the package takes {circuit.memory} bytes and the server may take {limits.memory}")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        jobs.start()
        yield
        jobs.close()
        sessions.close()

    app = FastAPI(
        title="Unmask encrypted inference", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None
    )
    _add_errors(app)
    _add_status(app, circuit, backend, jobs, limits)
    _add_sessions(app, sessions, jobs, limits)
    _add_queries(app, sessions, jobs, circuit)
    return app


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> JSONResponse:
        return JSONResponse({"error": str(error)}, status_code=error.status)


def _add_status(app: FastAPI, circuit: Servable, backend: str, jobs: Jobs, limits: Limits) -> None:
    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "version": VERSION, "waiting": jobs.waiting()}

    @app.get("/package")
    async def package() -> dict[str, Any]:
        return {
            "version": VERSION,
            "package": circuit.digest,
            "backend": backend,
            "parameters": circuit.parameters.to_json(),
            "rotations": len(circuit.rotations),
            "inputs": circuit.inputs,
            "seconds": circuit.seconds,
            "memory": circuit.memory,
            "chunk": limits.chunk,
        }


def _add_sessions(app: FastAPI, sessions: Sessions, jobs: Jobs, limits: Limits) -> None:
    @app.post("/session", status_code=201)
    async def create(request: Request) -> dict[str, Any]:
        for silent in sessions.expired():
            await run_in_threadpool(jobs.forget, silent)
            sessions.remove(silent)
        content = await _body(request, LISTING)
        try:
            announced = json.loads(content)
        except ValueError as error:
            raise Refused(422, "the listing of keys is no JSON; send keys.json") from error
        session = sessions.create(announced)
        return {"token": session.token, "chunk": limits.chunk}

    @app.get("/session")
    async def status(request: Request) -> dict[str, Any]:
        session = _session(sessions, request)
        return {"ready": session.ready, "received": session.received()}

    @app.delete("/session", status_code=204)
    def remove(request: Request) -> Response:
        session = _session(sessions, request)
        jobs.forget(session)
        sessions.remove(session)
        return Response(status_code=204)

    @app.put("/keys/{name}")
    async def upload(name: str, offset: int, request: Request) -> dict[str, Any]:
        session = _session(sessions, request)
        # Held until it is whole: a client that leaves in the middle of a piece leaves nothing behind.
        content = await _body(request, limits.chunk)
        received = await run_in_threadpool(session.append, name, offset, content)
        return {"received": received, "ready": session.ready}


def _add_queries(app: FastAPI, sessions: Sessions, jobs: Jobs, circuit: Servable) -> None:
    largest = circuit.inputs * (circuit.parameters.ciphertext_bytes(circuit.level) + MIB)

    @app.post("/queries", status_code=202)
    async def ask(request: Request) -> dict[str, Any]:
        session = _session(sessions, request)
        job = await run_in_threadpool(jobs.submit, session, await _body(request, largest))
        return {"query": job.name, "position": jobs.position(job)}

    @app.get("/queries/{name}")
    async def state(name: str, request: Request) -> dict[str, Any]:
        job = jobs.get(_session(sessions, request), name)
        shown = {"state": job.state.value, "step": job.step, "share": job.share, "seconds": job.seconds}
        return shown | {"position": jobs.position(job), "reason": job.reason}

    @app.get("/queries/{name}/answer")
    async def answer(name: str, request: Request) -> Response:
        job = jobs.get(_session(sessions, request), name)
        if job.state is not State.DONE:
            raise Refused(409, f"the query is {job.state.value}")
        return Response(job.answer, media_type="application/octet-stream")


def _session(sessions: Sessions, request: Request) -> Session:
    # In a header, since addresses end up in logs.
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token:
        raise Refused(401, "the request carries no token; begin a session first")
    return sessions.get(token)


async def _body(request: Request, most: int) -> bytes:
    """Return the body, and stop reading as soon as it is too long, whatever length was announced.

    Raises:
        Refused: if it is too long, or the client leaves in the middle.
    """
    refusal = Refused(413, f"the upload is larger than the {most} bytes that are taken here")
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > most:
        raise refusal
    content = bytearray()
    try:
        async for piece in request.stream():
            content += piece
            if len(content) > most:
                raise refusal
    except ClientDisconnect as error:
        raise Refused(400, "the connection broke in the middle of an upload") from error
    return bytes(content)
