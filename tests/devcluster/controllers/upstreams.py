"""Servers behind a real Envoy, and clients in front of it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

from include.devcluster.controllers.gateway import Endpoint
from tests.devcluster.controllers.support import eventually


class Predictor:
    """A server that says which one it is and what it was asked; ``/slow`` answers only when told to."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked = 0
        self.release = asyncio.Event()
        self.waiting = asyncio.Event()
        self.endpoint = Endpoint("127.0.0.1", 0)

    async def answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        if request.path == "/slow":
            self.waiting.set()
            await self.release.wait()
        headers = {key.lower(): ",".join(request.headers.getall(key)) for key in request.headers}
        answer = {"name": self.name, "path": request.path, "headers": headers}
        return web.json_response(answer, status=500 if request.path == "/bad" else 200)


@asynccontextmanager
async def predictors(*names: str) -> AsyncIterator[list[Predictor]]:
    servers, runners = [Predictor(name) for name in names], []
    for server in servers:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", server.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        runners.append(runner)
        server.endpoint = Endpoint("127.0.0.1", int(runner.addresses[0][1]))
    try:
        yield servers
    finally:
        for runner in runners:
            await runner.cleanup()


class Load:
    """Clients that ask without pause and remember every answer."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.answers: Counter[str] = Counter()
        self._session, self._url = session, url
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._ask()) for _ in range(8)]
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def some(self, count: int) -> Counter[str]:
        """The next ``count`` answers, by predictor; anything else than 200 is under its status."""
        self.answers.clear()
        await eventually(lambda: self.answers.total() >= count)
        return Counter(self.answers)

    async def _ask(self) -> None:
        while True:
            try:
                async with self._session.get(self._url) as response:
                    text = await response.text()
                    self.answers[json.loads(text)["name"] if response.status == 200 else str(response.status)] += 1
            except (aiohttp.ClientError, ValueError) as error:
                self.answers[repr(error)] += 1
