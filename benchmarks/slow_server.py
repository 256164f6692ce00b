"""An HTTP server in a process of its own that takes its time for each request and counts what comes.

python benchmarks/slow_server.py SECONDS      prints its port, then serves until its standard input ends

`/N` answers N after that many seconds; `/counts` the most requests that were in flight at once, how many there were,
and the most that began within any one second.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque


class Counts:
    """What the server has seen; its loop's thread alone touches it."""

    def __init__(self) -> None:
        self.flying = self.most = self.total = self.per_s = 0
        self._lately: deque[float] = deque()

    def began(self) -> None:
        now_s = time.monotonic()
        self.flying += 1
        self.total += 1
        self.most = max(self.most, self.flying)
        self._lately.append(now_s)
        while self._lately[0] <= now_s - 1.0:
            self._lately.popleft()
        self.per_s = max(self.per_s, len(self._lately))

    def said(self) -> dict[str, int]:
        return {"most": self.most, "total": self.total, "per_s": self.per_s}


async def serve(takes_s: float) -> None:
    from aiohttp import web

    counts = Counts()

    async def answer(request: web.Request) -> web.Response:
        counts.began()
        try:
            await asyncio.sleep(takes_s)
            return web.Response(text=request.match_info["number"])
        finally:
            counts.flying -= 1

    async def told(request: web.Request) -> web.Response:
        said = counts.said()
        counts.most = counts.total = counts.per_s = 0
        return web.json_response(said)

    app = web.Application()
    app.add_routes([web.get("/counts", told), web.get("/{number}", answer)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1_024)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1])))
