"""Signs of life of beat and of the workers that execute schedules, and the claim of the heartbeat."""

from __future__ import annotations

from functools import partial
from typing import Final, NamedTuple

from livecheck_celery.store.database import Database, readable
from livecheck_celery.store.scripts import Script

#: Seconds after which a sign of life is forgotten.
SIGN_TTL: Final = 120

SIGN_OF_LIFE: Final = Script("sign_of_life", keys=("sign",), args=("ttl",))


class SignsOfLife(NamedTuple):
    """Seconds since each sign of life; None if there was none in the last two minutes.

    Attributes:
        beat: beat sent a message.
        schedules: a worker executed a message that beat sent.
    """

    beat: float | None
    schedules: float | None


class Liveness:
    """Signs of life of beat and of the workers, and the claim of the heartbeat."""

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
        """Read the last signs of life.

        Raises:
            UnreadableData: a stored value cannot be parsed.
            RedisUnavailable: Redis did not answer.
        """
        keys = [self._database.keys.beat, self._database.keys.schedules]
        pipeline = self._database.pipeline()
        pipeline.time()
        for key in keys:
            pipeline.get(key)
        (seconds, microseconds), *seen = self._database.execute(pipeline)
        now = float(seconds + microseconds / 1_000_000)
        return SignsOfLife(*(readable(key, partial(_age, now, at)) for key, at in zip(keys, seen, strict=True)))

    def claim_heartbeat(self, period: float) -> bool:
        """Claim the ping of this period of ``period`` seconds; return False if another process has claimed it.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        # Shorter than the period, since beat does not tick exactly.
        with self._database.errors_translated():
            return bool(self._database.client.set(self._database.keys.heartbeat, 1, nx=True, px=int(period * 900)))


def _age(now: float, at: str | None) -> float | None:
    return None if at is None else max(0.0, now - float(at))
