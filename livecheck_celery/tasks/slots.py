"""The slots of a worker, which the tests of several cases share.

Celery hands each message that a worker receives to its pool, which executes them in that order. Here, a message that
has no slot waits in the process that consumes the queue: as Celery received it, without an acknowledgement, and soon
beside the worker's prefetch count, so that messages behind it are received. It is executed when a slot for it is free.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from celery.concurrency.prefork import TaskPool as ProcessPool
from celery.concurrency.solo import TaskPool as SoloPool
from celery.worker import state

from livecheck_celery.delivery.publisher import CASE_KEYWORD, EXECUTE, TEST_KEYWORD
from livecheck_celery.execution.fair_share import FairShare, Party, fake_requests_of
from livecheck_celery.tasks.own_task import OwnTask
from livecheck_celery.tasks.protocols import Installed
from livecheck_celery.tasks.put_off import PutOff
from livecheck_celery.utils.sanitize import get_logger

logger = get_logger(__name__)

#: Messages of a case that is alone that can wait for each slot; others stay in the broker, for other workers.
WAITING_PER_SLOT: Final = 10
#: Messages that can wait; of several cases, one that is given up is sent again and again while many wait.
MAX_WAITING: Final = 1000
#: Seconds between two checks, while messages wait.
_TICK: Final = 0.2

#: Id of the message and of its test: a message that is delivered again has the same.
Key = tuple[str, str]


@dataclass
class _Waiting:
    """A message that waits for a slot.

    Attributes:
        request: Celery's request.
        qos: prefetch count of the connection by which it came.
        is_beside: whether the prefetch count was raised for it.
        received_at: monotonic time at which it was received.
        held_at: monotonic time of that, or at which its test was last put off in Redis.
    """

    request: Any
    qos: Any
    is_beside: bool = False
    received_at: float = field(default_factory=time.monotonic)
    held_at: float = field(default_factory=time.monotonic)

    def leave(self, qos: Any) -> Any:
        """Return the request, which waits no more; ``qos`` is that of the current connection."""
        if self.is_beside:
            self.qos.decrement_eventually()
        if self.qos is not qos:
            self.request.acknowledged = True  # impossible by another connection; the broker delivers it again
        return self.request


class Slots:
    """The slots of one worker, and the messages that wait for them.

    Args:
        worker: the Celery worker, before it consumes messages.
        livechecks: those that it works for.
    """

    def __init__(self, worker: Any, livechecks: Sequence[Installed]) -> None:
        self._worker = worker
        self._livechecks = livechecks
        self._consumer = worker.consumer
        self._execute: Callable[[Any], object] = self._consumer.on_task_request
        self._is_forking = isinstance(worker.pool, ProcessPool)
        self._share = FairShare()
        self._put_off = PutOff(livechecks)
        self._lock = threading.RLock()
        self._waiting: dict[Party, dict[Key, _Waiting]] = {}
        self._running: dict[Any, Party] = {}
        self._thread: threading.Thread | None = None
        for livecheck in livechecks:
            for party in fake_requests_of(livecheck.cases):
                self._share.expect(party)
            if not self._is_forking:  # the slots are not those of a child of the pool
                livecheck.runtime.async_tests.on_room(self._fill_again)
        self._consumer.on_task_request = self.receive

    @property
    def count(self) -> int:
        """The number of slots."""
        pool = self._worker.pool
        # In earlier versions of Celery, a green pool counts its running greenlets as its processes.
        size = int(pool.limit or 0) if pool.is_green else 0
        return max(int(self._worker.max_concurrency or 0), int(pool.num_processes), size, 1)

    def receive(self, request: Any) -> None:
        """Execute a message of LiveCheck as soon as a slot is free for it; any other at once, as Celery does."""
        if not isinstance(request.task, OwnTask):
            self._execute(request)
            return
        party, key = self._party(request), (request.id, _test_id(request))
        with self._lock:
            if party.task == EXECUTE:
                self._share.expect(party)
            waiting = self._waiting.setdefault(party, {})
            if key in waiting:
                self._replace(waiting[key], request)
            else:
                waiting[key] = _Waiting(request, self._consumer.qos)
        self._fill()
        with self._lock:
            if key in self._waiting.get(party, {}):
                self._keep(self._waiting[party][key])

    # -- messages that wait

    def _replace(self, earlier: _Waiting, request: Any) -> None:
        """Replace a message that waits by the same one, delivered again."""
        replaced = earlier.leave(self._consumer.qos)
        replaced.acknowledge()
        earlier.request, earlier.qos, earlier.is_beside = request, self._consumer.qos, False

    def _keep(self, kept: _Waiting) -> None:
        """Have the thread make room for messages behind ``kept``, which waits."""
        # It is not "reserved", which would keep a worker with worker_disable_prefetch from receiving others.
        state.reserved_requests.discard(kept.request)
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="livecheck-slots", daemon=True)
            self._thread.start()

    def _make_room(self) -> None:
        """Have the broker deliver one more message for each that has waited since the last check.

        Not at once, so that another worker with a free slot has the messages first.
        """
        before = time.monotonic() - _TICK
        waiting = [each for waiting in self._waiting.values() for each in waiting.values()]
        late = [each for each in waiting if not each.is_beside and each.received_at <= before]
        over = len(waiting) - self._room
        if over > 0:
            for _ in late[:over]:
                self._give_up_one()
        elif self._can_raise_prefetch:
            for each in late:
                each.is_beside = True
                each.qos.increment_eventually()

    @property
    def _room(self) -> int:
        """The number of messages that can wait before one is given up."""
        is_alone = bool(self._waiting) and self._share.is_alone(self._largest)
        room = min(WAITING_PER_SLOT * self.count, MAX_WAITING) if is_alone else MAX_WAITING
        prefetched = self._consumer.initial_prefetch_count
        return room if self._can_raise_prefetch or not prefetched else max(1, min(room, prefetched - 1))

    @property
    def _can_raise_prefetch(self) -> bool:
        """Whether the broker delivers more messages: not from quorum queues, nor while Celery restores the count."""
        consumer = self._consumer
        if not getattr(consumer, "_maximum_prefetch_restored", True):
            return False
        is_static = getattr(consumer, "qos_global", None) is False
        return not (is_static and consumer.connection and consumer.connection.transport.driver_type == "amqp")

    def _give_up_one(self) -> None:
        """Give the latest message of the party with most of them back to recovery, if it can be.

        If no other party is expected, the worker leaves further messages to the broker instead.
        """
        party = self._largest
        key, last = next(reversed(self._waiting[party].items()))
        if not self._share.is_alone(party) and self._put_off.give_up(last.request):
            self._remove(party, key)
            last.leave(self._consumer.qos).acknowledge()
            state.task_ready(last.request)

    @property
    def _largest(self) -> Party:
        """The party with most messages that wait."""
        return max(self._waiting, key=lambda one: len(self._waiting[one]))

    def _remove(self, party: Party, key: Key) -> _Waiting:
        waiting = self._waiting.pop(party)
        removed = waiting.pop(key)
        if waiting:
            self._waiting[party] = waiting  # behind other parties
        return removed

    # -- messages in slots

    def _fill(self) -> None:
        """Execute messages that wait, until there is no free slot for them."""
        while (request := self._next()) is not None:
            if request.revoked():
                self._free(request)
                continue
            try:
                if self._begins(request):
                    self._free(request)
                    continue
                for name in ("on_success", "on_failure", "on_timeout"):
                    setattr(request, name, self._then_release(request, getattr(request, name)))
                self._execute(request)
            except BaseException:
                self._free(request)
                raise
            if getattr(request, "_already_revoked", False):  # meanwhile; Celery has not executed it
                self._free(request)

    def _begins(self, request: Any) -> bool:
        """Begin the test of a message on the event loop, if it needs no slot; return whether it has begun."""
        if self._is_forking or not request.task.begin(request):  # each child of a pool has a loop of its own
            return False
        request.on_accepted(os.getpid(), time.monotonic())
        request.acknowledge()  # also with acks_late, in an annotation
        state.task_ready(request)
        return True

    def _next(self) -> Any:
        with self._lock:
            if any(one.runtime.interruption.is_requested for one in self._livechecks):
                return None  # those that wait go back to the broker
            party = self._share.choose(filter(self._has_place, self._waiting), self.count)
            if party is None:
                return None
            request = self._remove(party, next(iter(self._waiting[party]))).leave(self._consumer.qos)
            self._share.start(party)
            self._running[request] = party
            state.task_reserved(request)
            return request

    def _has_place(self, party: Party) -> bool:
        """Return whether a test of ``party`` would not wait in its slot for a place on the event loop."""
        livecheck = self._async_livecheck(party)
        if livecheck is None or self._is_forking:  # each child has a loop of its own
            return True
        coming = sum(self._async_livecheck(one) is livecheck for one in self._running.values())
        return livecheck.runtime.async_tests.has_place(party, coming=coming)

    def _async_livecheck(self, party: Party) -> Installed | None:
        """Return the LiveCheck on whose event loop the tests of ``party`` run, if they do."""
        if party.task != EXECUTE:
            return None
        found = (one for one in self._livechecks if party.case in one.cases and not one.cases[party.case].holds_slot)
        return next(found, None)

    def _then_release(self, request: Any, handler: Callable[..., Any]) -> Callable[..., Any]:
        def handle(*args: Any, **options: Any) -> Any:
            try:
                return handler(*args, **options)
            finally:
                if handler.__name__ != "on_timeout" or not args[0]:  # a soft time limit ends nothing
                    self._release(request)

        return handle

    def _release(self, request: Any) -> None:
        """Execute the next message in the slot of ``request``, which has ended."""
        if self._free(request):
            self._fill_again()

    def _fill_again(self) -> None:
        if not self._waiting:
            return
        if self._worker.pool.is_green:
            # The pool blocks until there is a slot, and this greenlet still has its own.
            threading.Thread(target=self._fill, name="livecheck-fill", daemon=True).start()
        else:
            self._fill()

    def _free(self, request: Any) -> bool:
        with self._lock:
            party = self._running.pop(request, None)
            if party is not None:
                self._share.end(party)
            return party is not None

    # -- the thread

    def _watch(self) -> None:
        while True:
            time.sleep(_TICK)
            with self._lock:
                self._free_lost()
                stopping = any(one.runtime.interruption.is_requested for one in self._livechecks)
                if stopping or not (self._waiting or self._put_off.is_pending):
                    self._thread = None
                    return
                self._make_room()
                self._put_off.hold(each for waiting in self._waiting.values() for each in waiting.values())
            self._consumer.call_soon(self._fill)
            self._put_off.write()

    def _free_lost(self) -> None:
        """Free the slots of messages that the pool has dropped, as it does when its connection breaks."""
        for request in [one for one in self._running if not _is_live(one)]:
            self._free(request)

    def _party(self, request: Any) -> Party:
        kwargs = _kwargs(request)
        name = kwargs.get(CASE_KEYWORD)
        is_declared = isinstance(name, str) and any(name in livecheck.cases for livecheck in self._livechecks)
        carried = kwargs.get(TEST_KEYWORD)
        synthetic = isinstance(carried, dict) and carried.get("mark") is not None
        return Party(request.task.name, str(name) if is_declared else "", synthetic)


def install(worker: Any, livechecks: Sequence[Installed]) -> None:
    """Share the slots of ``worker``, unless its pool has one and the worker receives nothing while it is taken."""
    if not isinstance(worker.pool, SoloPool):
        Slots(worker, livechecks)


def _test_id(request: Any) -> str:
    carried = _kwargs(request).get(TEST_KEYWORD)
    return str(carried.get("id")) if isinstance(carried, dict) else ""


def _kwargs(request: Any) -> dict[str, Any]:
    """Return the arguments of a message; none if they are not a dict, which the task then refuses."""
    return request.kwargs if isinstance(request.kwargs, dict) else {}


def _is_live(request: Any) -> bool:
    return request in state.reserved_requests or request in state.active_requests
