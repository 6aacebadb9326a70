"""Places the orders, and sees to it that their signals are sent, whatever befalls whom."""

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

#: Orders that are being handled at the same time, at most.
_AT_ONCE: Final = 400
_REQUEST: Final = aiohttp.ClientTimeout(total=15.0)
#: Seconds that a task on the ordinary worker has to send a signal, before the driver does so itself.
_TASK: Final = 3.0
_AGAIN: Final = 0.3


class Traffic:
    """Customers of the shop.

    Attributes:
        triggered: executions that are known to have been triggered.
        unknown: those of which that is not known.
    """

    def __init__(self, ledger: Ledger, webs: list[str], orders: Iterator[Order]) -> None:
        self._ledger = ledger
        self._webs = cycle(webs)
        self._orders = orders
        self.triggered = 0
        self.unknown = 0
        self._more = asyncio.Condition()

    async def run(self, executions: int, rate: float, deadline: float) -> None:
        """Place orders, ``rate`` a second at most, until ``executions`` were triggered or it is ``deadline``.

        Returns when all that was to be sent has been sent.
        """
        begun, placed, places = time.monotonic(), 0, asyncio.Semaphore(_AT_ONCE)
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

    async def reach(self, executions: int) -> None:
        """Wait until so many executions were triggered."""
        async with self._more:
            await self._more.wait_for(lambda: self.triggered >= executions)

    async def _order(self, session: aiohttp.ClientSession, order: Order) -> None:
        self._ledger.will_order(order)
        await self._post(session, "/order", order, again=True)
        if "known" in self._ledger.noted(order.id):
            async with self._more:
                self.triggered += 1
                self._more.notify_all()
        else:
            self.unknown += 1
        begun = time.monotonic()
        if "paid" in order.signals:
            await self._see_to(session, order, "paid")
        if order.ship == "later":
            await asyncio.sleep(begun + order.delay - time.monotonic())
        elif order.ship == "task":
            await self._wait_for_task(order)
        if "shipped" in order.signals:
            await self._see_to(session, order, "shipped")

    async def _see_to(self, session: aiohttp.ClientSession, order: Order, signal: str) -> None:
        """Have ``signal`` sent until Redis has certainly taken it."""
        while f"taken:{signal}" not in self._ledger.noted(order.id):
            await self._post(session, f"/signal/{signal}", order)
            await asyncio.sleep(_AGAIN)

    async def _wait_for_task(self, order: Order) -> None:
        for _ in range(round(_TASK / _AGAIN)):
            if "taken:shipped" in self._ledger.noted(order.id):
                return
            await asyncio.sleep(_AGAIN)

    async def _post(self, session: aiohttp.ClientSession, path: str, order: Order, *, again: bool = False) -> None:
        """Ask one of the web services; ``again`` asks on while none can be connected to."""
        while True:
            try:
                async with session.post(next(self._webs) + path, json=asdict(order)) as answer:
                    answer.raise_for_status()
                    return
            except aiohttp.ClientConnectorError:
                if not again:
                    return
                await asyncio.sleep(_AGAIN)
            except (aiohttp.ClientError, TimeoutError, OSError):
                return
