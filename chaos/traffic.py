"""Place the orders of a run, and request each signal until Redis has it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import cycle
from typing import Final

import aiohttp

from chaos.ledger import Ledger
from chaos.plan import Order

#: Maximum number of orders in progress.
_CONCURRENCY: Final = 400
_REQUEST: Final = aiohttp.ClientTimeout(total=15.0)
#: Seconds for the Celery task to send the second signal; after that, the driver requests the signal.
_TASK: Final = 3.0
_INTERVAL: Final = 0.3


class Traffic:
    """The customers of the order system.

    Attributes:
        triggered: executions that are known to have been triggered.
    """

    def __init__(self, ledger: Ledger, web_urls: list[str], orders: Iterator[Order]) -> None:
        self._ledger = ledger
        self._web_urls = cycle(web_urls)
        self._orders = orders
        self.triggered = 0
        self._progress = asyncio.Condition()

    async def run(self, executions: int, rate: float, deadline: float) -> None:
        """Place at most ``rate`` orders per second until ``executions`` were triggered, then wait for their signals.

        Raises:
            TimeoutError: it took longer than until ``deadline``, of the monotonic clock.
        """
        begun, placed, places = time.monotonic(), 0, asyncio.Semaphore(_CONCURRENCY)
        async with (
            aiohttp.ClientSession(timeout=_REQUEST, connector=aiohttp.TCPConnector(force_close=True)) as session,
            asyncio.timeout_at(asyncio.get_running_loop().time() + deadline - begun),
            asyncio.TaskGroup() as group,
        ):
            while self.triggered < executions:
                await asyncio.sleep(max(0.0, begun + placed / rate - time.monotonic()))
                await places.acquire()
                placed += 1
                task = group.create_task(self._order(session, next(self._orders)))
                task.add_done_callback(lambda _: places.release())

    async def wait_triggered(self, executions: int) -> None:
        """Wait until ``executions`` were triggered."""
        async with self._progress:
            await self._progress.wait_for(lambda: self.triggered >= executions)

    async def _order(self, session: aiohttp.ClientSession, order: Order) -> None:
        self._ledger.placing_order(order)
        await self._post(session, "/order", order, retry=True)
        if self._ledger.is_triggered(order.id):
            async with self._progress:
                self.triggered += 1
                self._progress.notify_all()
        begun = time.monotonic()
        if "paid" in order.signals:
            await self._send_until_stored(session, order, "paid")
        if order.ship == "later":
            await asyncio.sleep(begun + order.delay - time.monotonic())
        elif order.ship == "task":
            await self._wait_for_task(order)
        if "shipped" in order.signals:
            await self._send_until_stored(session, order, "shipped")

    async def _send_until_stored(self, session: aiohttp.ClientSession, order: Order, signal: str) -> None:
        while not self._ledger.is_stored(order.id, signal):
            await self._post(session, f"/signal/{signal}", order)
            await asyncio.sleep(_INTERVAL)

    async def _wait_for_task(self, order: Order) -> None:
        for _ in range(round(_TASK / _INTERVAL)):
            if self._ledger.is_stored(order.id, "shipped"):
                return
            await asyncio.sleep(_INTERVAL)

    async def _post(self, session: aiohttp.ClientSession, path: str, order: Order, *, retry: bool = False) -> None:
        """Post to one of the web services; ``retry`` until a connection is made."""
        while True:
            try:
                async with session.post(next(self._web_urls) + path, json=asdict(order)) as answer:
                    answer.raise_for_status()
                    return
            except aiohttp.ClientConnectorError:
                if not retry:
                    return
                await asyncio.sleep(_INTERVAL)
            except (aiohttp.ClientError, TimeoutError, OSError):
                return
