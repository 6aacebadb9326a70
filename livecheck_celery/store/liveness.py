"""Signs of life of workers and beats, and the claim of the heartbeat."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha1
from math import isfinite
from typing import Final, NamedTuple

from pydantic import TypeAdapter

from livecheck_celery.store.database import Database
from livecheck_celery.store.scripts import Script
from livecheck_celery.store.unreadable import parse

#: Seconds after which a sign of life is forgotten.
SIGN_TTL: Final = 120

#: Longest round trip that measures the difference of two clocks, in seconds.
MAX_ROUND_TRIP: Final = 0.5

SIGN_OF_LIFE: Final = Script("sign_of_life", keys=("sign",), args=("ttl",))
SIGN_IN: Final = Script("sign_in", keys=("seen", "processes", "declared"), args=("id", "record", "ttl", "cases"))


class SignsOfLife(NamedTuple):
    """Seconds since each sign of life; None if there was none in the last two minutes.

    Attributes:
        beat: beat sent a message.
        schedules: a worker executed a message that beat sent.
    """

    beat: float | None
    schedules: float | None


@dataclass(frozen=True)
class RunningProcess:
    """A worker or a beat, as its last sign of life describes it.

    Fields that a process of another version does not send have their defaults; fields unknown here are ignored.

    Attributes:
        id: unique to the process.
        kind: ``worker`` or ``beat``.
        name: node name of a worker; host name of a beat.
        host: host name of its machine.
        pid: process id on that machine.
        version: of LiveCheck.
        clock_offset: seconds by which the clock of its machine is ahead of Redis'; None if not measured.
        queues: names of all queues that a worker consumes.
        pool: name of the class of a worker's pool; empty until the pool has started.
        cases_digest: digest of the names of the cases that it declares.
        has_stall_checks: whether a worker's stalled check passes over suites that are not due; earlier versions take
            those for not checked.
        age: seconds since the sign of life.
    """

    id: str
    kind: str
    name: str
    host: str
    pid: int
    version: str = ""
    clock_offset: float | None = None
    queues: tuple[str, ...] = ()
    pool: str = ""
    cases_digest: str = ""
    has_stall_checks: bool = False
    age: float = 0.0


PROCESS: Final = TypeAdapter(RunningProcess)
NAMES: Final = TypeAdapter(list[str])


class Liveness:
    """Signs of life of workers and beats, and the claim of the heartbeat."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def beat_seen(self) -> None:
        """Record that beat sent a message.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        self._database.run(SIGN_OF_LIFE(sign=self._database.keys.beat, ttl=SIGN_TTL))

    def schedules_seen(self) -> None:
        """Record that a worker executed a message that beat sent.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        self._database.run(SIGN_OF_LIFE(sign=self._database.keys.schedules, ttl=SIGN_TTL))

    def read(self) -> SignsOfLife:
        """Read the last signs of life; one that cannot be parsed is skipped.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        keys = [self._database.keys.beat, self._database.keys.schedules]
        pipeline = self._database.pipeline()
        pipeline.time()
        for key in keys:
            pipeline.get(key)
        (seconds, microseconds), *seen = self._database.execute_each(pipeline, ["", *keys])
        now = float(seconds + microseconds / 1_000_000)
        return SignsOfLife(*(self._age(now, key, at) for key, at in zip(keys, seen, strict=True)))

    def _age(self, now: float, key: str, at: str | None) -> float | None:
        try:
            return None if at is None else _age(now, at)
        except ValueError as exc:
            self._database.unreadable.skip(key, exc)
            return None

    def clock_offset(self) -> float | None:
        """Measure by how many seconds the clock of this machine is ahead of Redis'; None if Redis answers too slowly.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        before = time.time()
        with self._database.errors_translated():
            seconds, microseconds = self._database.client.time()
        after = time.time()
        return (before + after) / 2 - (seconds + microseconds / 1_000_000) if after - before < MAX_ROUND_TRIP else None

    def sign_in(self, process: RunningProcess, cases: Iterable[str] = ()) -> None:
        """Record a sign of life of ``process``, which declares ``cases``, for two minutes.

        The names of the cases are sent only if Redis does not have them.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        names = json.dumps(sorted(cases))
        digest = sha1(names.encode(), usedforsecurity=False).hexdigest()
        record = PROCESS.dump_python(process, mode="json", exclude={"id", "age"})
        text = json.dumps({**record, "cases_digest": digest})
        for sent in (None, names):
            call = SIGN_IN(
                seen=self._database.keys.seen,
                processes=self._database.keys.processes,
                declared=self._database.keys.declared(digest),
                id=process.id,
                record=text,
                ttl=SIGN_TTL,
                cases=sent,
            )
            if self._database.run(call):
                return

    def sign_off(self, process_id: str) -> None:
        """Forget a process, which exits.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        pipeline = self._database.pipeline()
        pipeline.zrem(self._database.keys.seen, process_id)
        pipeline.hdel(self._database.keys.processes, process_id)
        self._database.execute(pipeline)

    def processes(self) -> list[RunningProcess]:
        """Read the workers and beats that gave a sign of life in the last two minutes, by kind and name.

        A record that cannot be parsed is skipped.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        keys = self._database.keys
        pipeline = self._database.pipeline()
        pipeline.time()
        pipeline.zrangebyscore(keys.seen, "-inf", "+inf", withscores=True)
        pipeline.hgetall(keys.processes)
        time, seen, records = self._database.execute_each(pipeline, ["", keys.seen, keys.processes])
        now = time[0] + time[1] / 1_000_000
        found = []
        for one, at in seen or ():
            if one in (records or ()) and now - at < SIGN_TTL:
                try:
                    stored = {**dict(parse(records[one])), "id": one, "age": max(0.0, now - at)}
                    found.append(PROCESS.validate_python(stored))
                except (TypeError, ValueError) as exc:
                    self._database.unreadable.skip(keys.processes, type(exc).__name__, field=one)
        return sorted(found, key=lambda one: (one.kind, one.name, one.host, one.pid))

    def has_earlier_stall_checks(self) -> bool:
        """Return whether a worker runs whose stalled check takes a suite that was passed over for not checked.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        return any(one.kind == "worker" and not one.has_stall_checks for one in self.processes())

    def declared_cases(self, processes: Sequence[RunningProcess]) -> frozenset[str] | None:
        """Read the names of the cases that running workers declare; None if that is not known.

        It is not known while no worker runs, a worker has just lapsed, or its list cannot be parsed. `processes` reads
        the argument.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        keys = [
            self._database.keys.declared(digest)
            for digest in sorted({one.cases_digest for one in processes if one.kind == "worker"})
        ]
        if not keys:
            return None
        pipeline = self._database.pipeline()
        for key in keys:
            pipeline.get(key)
        declared: set[str] = set()
        for key, text in zip(keys, self._database.execute_each(pipeline, keys), strict=True):
            try:
                declared |= set(NAMES.validate_python(None if text is None else parse(text)))
            except ValueError as exc:
                if text is not None:
                    self._database.unreadable.skip(key, type(exc).__name__)
                return None
        return frozenset(declared)

    def claim_heartbeat(self, period: float) -> bool:
        """Claim the ping of this period of ``period`` seconds; return False if another process has claimed it.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        # Shorter than the period, since beat does not tick exactly.
        with self._database.errors_translated():
            return bool(self._database.client.set(self._database.keys.heartbeat, 1, nx=True, px=int(period * 900)))


def _age(now: float, at: str) -> float:
    age = now - float(at)
    if not isfinite(age):
        raise ValueError(f"{at} is not a time")
    return max(0.0, age)
