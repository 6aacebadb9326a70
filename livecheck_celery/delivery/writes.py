"""Write items of the outbox to Redis in one pipeline, each with an outcome of its own."""

from __future__ import annotations

from collections.abc import Sequence

from livecheck_celery.delivery.items import FinishedOperation, Item, RequestedTest, SentSignal
from livecheck_celery.delivery.shared_config import SharedConfig
from livecheck_celery.errors import RedisUnavailable
from livecheck_celery.models import JSONText, SignalEvent
from livecheck_celery.store.store import Batch, Store
from livecheck_celery.utils.signal_handlers import reraise_from_handler

#: Redis time of the write, the reason why Redis refused it, or the error.
Outcome = float | str | Exception


def write(items: Sequence[Item], store: Store, shared_config: SharedConfig) -> list[tuple[Item, Outcome]]:
    """Write ``items``; return each with its outcome: an item that fails does not prevent the others.

    Args:
        items: tests, signals and finished operations.
        store: the store to write to.
        shared_config: names the signals of finished operations.

    Raises:
        RedisUnavailable: Redis did not answer.
    """
    queued: list[tuple[Item, slice | Exception]] = []
    with store.batch() as batch:
        # Tests first: a signal must find the record of its test.
        for item in sorted(items, key=lambda item: not isinstance(item, RequestedTest)):
            first = len(batch)
            try:
                _queue(item, batch, shared_config)
            except RedisUnavailable:  # for all items; each attempt can take a second
                raise
            except Exception as exc:  # noqa: BLE001 - the outcome of this item
                reraise_from_handler(exc)
                queued.append((item, exc))
            else:
                queued.append((item, slice(first, len(batch))))
    return [
        (item, place if isinstance(place, Exception) else _outcome(batch.outcomes[place])) for item, place in queued
    ]


def _queue(item: Item, batch: Batch, shared_config: SharedConfig) -> None:
    if isinstance(item, RequestedTest):
        batch.record(item.test, expires_in=item.expires_in, max_rate=item.max_rate)
    elif isinstance(item, SentSignal):
        batch.signal(item.event(), ttl=item.ttl)
    else:
        for event in _events(item, shared_config):
            batch.signal(event, ttl=0.0)


def _events(finished: FinishedOperation, shared_config: SharedConfig) -> list[SignalEvent]:
    if shared_config.sources is None:
        shared_config.refresh()
    targets = shared_config.sources.targets(finished.source) if shared_config.sources else ()
    return [
        SignalEvent(
            *(signal_name, case_name, test.id, JSONText(finished.value), finished.error),
            use=test.use,
            send_id=finished.send_id,
        )
        for test in finished.tests
        for case_name, signal_name in targets
        if case_name == test.case_name
    ]


def _outcome(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the outcome of an item with these writes: an error, else a refusal, else the time."""
    for kind in (Exception, str, float):
        if found := [outcome for outcome in outcomes if isinstance(outcome, kind)]:
            return found[0]
    return 0.0
