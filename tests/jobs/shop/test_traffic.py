"""Traffic against a real server on this machine."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from include.jobs.shop.statistics import Latencies
from include.jobs.shop.traffic import Traffic, run

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def answer(version: str = "3", products: list[int] | None = None) -> web.Response:
    products = [1, 2] if products is None else products
    return web.json_response({"predictions": [{"products": products, "model_version": version}]})


async def serve(handler: Handler) -> tuple[web.AppRunner, str]:
    app = web.Application()
    app.router.add_post("/predict", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}/predict"


def drive(handler: Handler, out: Path, **options: Any) -> dict[str, Any]:
    async def both() -> dict[str, Any]:
        runner, url = await serve(handler)
        try:
            return await run(Traffic(url=url, households=[1, 2, 3], out=out, **options))
        finally:
            await runner.cleanup()

    return asyncio.run(both())


def test_requests_answers_and_versions_are_counted(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(await request.json())
        return answer(str(3 + len(seen) % 2))

    result = drive(handler, tmp_path / "out.json", rate=100, duration_s=1.0)
    assert result["requests"] == len(seen) > 0
    assert result["failed"] == 0
    assert sum(result["versions"].values()) == result["requests"]
    assert set(result["versions"]) == {"3", "4"}
    assert {question["instances"][0]["household_id"] for question in seen} <= {1, 2, 3}
    assert result["latency_ms"]["p50"] <= result["latency_ms"]["p99"] <= result["latency_ms"]["max"]
    assert sum(second["requests"] for second in result["seconds"]) == result["requests"]
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["requests"] == result["requests"]
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_every_kind_of_failure_is_counted(tmp_path: Path) -> None:
    replies = [web.Response(status=503), web.Response(text="no json"), None]

    async def handler(request: web.Request) -> web.StreamResponse:
        reply = replies[len(turns) % len(replies)]
        turns.append(1)
        return answer(products=[]) if reply is None else type(reply)(status=reply.status, text=reply.text)

    turns: list[int] = []
    result = drive(handler, tmp_path / "out.json", rate=100, duration_s=0.5)
    assert result["failed"] == result["requests"]
    assert set(result["failures"]) == {"http_503", "bad_answer"}

    async def nobody() -> dict[str, Any]:
        runner, url = await serve(handler)
        await runner.cleanup()
        traffic = Traffic(url=url, rate=50, households=[1], out=tmp_path / "out.json", duration_s=0.3)
        return await run(traffic)

    result = asyncio.run(nobody())
    assert result["failed"] == result["requests"] > 0
    assert set(result["failures"]) == {"ClientConnectorError"}


def test_a_stalling_server_cannot_hide_its_latency(tmp_path: Path) -> None:
    """Requests start on schedule, so those behind a stall are late as well."""
    turn = asyncio.Lock()

    async def handler(request: web.Request) -> web.Response:
        async with turn:
            await asyncio.sleep(0.05)
        return answer()

    result = drive(handler, tmp_path / "out.json", rate=100, duration_s=0.5)
    assert result["latency_ms"]["max"] > 5 * 50, "half a second of requests queues up for a server of 20 a second"


def test_sigterm_ends_it_with_all_answers(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        await asyncio.sleep(0.1)
        answered.append(1)
        if len(answered) == 20:
            enough.set()
        return answer()

    answered: list[int] = []
    enough = asyncio.Event()
    out, result_file = tmp_path / "out.json", tmp_path / "result.json"

    async def both() -> int:
        runner, url = await serve(handler)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "include.jobs.shop", "traffic"),
            *("--url", url, "--rate", "50", "--households", "5", "--out", str(out)),
            env={**os.environ, "PODIUM_XCOM_PATH": str(result_file)},
            stdout=subprocess.DEVNULL,
        )
        await enough.wait()
        process.send_signal(signal.SIGTERM)
        code = await process.wait()
        await runner.cleanup()
        return code

    assert asyncio.run(asyncio.wait_for(both(), 120)) == 0
    result = json.loads(result_file.read_text())
    assert result["requests"] == len(answered)
    assert (result["failed"], "seconds" in result) == (0, False)


def test_quantiles_are_right_within_two_per_cent() -> None:
    latencies = Latencies()
    for number in range(1, 1001):
        latencies.add(number / 10)
    for share in (0.5, 0.9, 0.99):
        quantile = latencies.quantile(share)
        assert quantile is not None
        assert share * 100 <= quantile <= share * 100 * 1.02 + 0.001
    assert Latencies().as_json() == dict.fromkeys(("mean", "p50", "p90", "p99", "max"))
