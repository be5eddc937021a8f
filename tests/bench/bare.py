"""The baseline server: one handler that returns ready bytes, on aiohttp and uvloop, without an access log."""

from __future__ import annotations

import os

import uvloop
from aiohttp import web


def main() -> None:
    body = os.environ["BARE_BODY"].encode()

    async def handler(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_get("/", handler)
    uvloop.install()
    web.run_app(app, host="127.0.0.1", port=int(os.environ["BARE_PORT"]), access_log=None, print=lambda _text: None)


if __name__ == "__main__":
    main()
