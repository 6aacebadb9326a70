"""The arithmetic of `benchmarks.scale`: what an installation asks of Redis and of the broker in a second.

All functions are pure. Rates are per second, costs are microseconds of a server's processor for one call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Final

from livecheck_celery.delivery.outbox import REFRESH_EVERY
from livecheck_celery.execution.inbox import BACKSTOP, PING, _Backstop
from livecheck_celery.execution.leases import LEASE_SHARE
from livecheck_celery.store.database import FORGET_AFTER
from livecheck_celery.store.open_cases import NOTE_EVERY
from livecheck_celery.tasks.beat_schedule import RECOVER_SHARE
from livecheck_celery.tasks.presence import SIGN_EVERY

#: Share of a server's processor that is planned with: a burst, or the load of a server that is down, needs the rest.
PLANNED: Final = 0.5
#: Microseconds.
SECOND: Final = 1e6
#: Connections that a server of Redis accepts, unless ``maxclients`` is raised.
MAX_CLIENTS: Final = 10_000
#: Seconds that a round trip takes between two machines, with what the caller does: assumed.
ROUND_TRIP: Final = 0.0005
#: Seconds between two heartbeats that a worker of Celery sends to all others.
HEARTBEAT: Final = 2.0

#: Operations whose keys are those of the case: more servers share them out.
OF_CASES: Final = ("record", "signal", "claim", "renew", "read", "verdict", "due")
#: Operations on keys that all cases share: all on the server that has the key.
SHARED: Final = ("note", "snapshot", "sign in")
#: Operations on the server to which a process is subscribed: any.
ANYWHERE: Final = ("ping",)


@dataclass(frozen=True)
class Step:
    """An installation, and what happens in it each second.

    Attributes:
        workers: worker processes.
        services: processes that trigger tests and send signals.
        executions: tests per second.
        cases: number of cases, with equally many tests each but for the hot one.
        seconds: from the trigger to the verdict of a test, while it waits.
        signals: of each test, all sent while it waits.
        hot: share of the tests that one case has.
        recover_within: the setting.
    """

    workers: int
    services: int
    executions: float
    cases: int
    seconds: float = 10.0
    signals: int = 2
    hot: float = 0.05
    recover_within: float = 15.0

    @property
    def waiting(self) -> float:
        """The tests that wait at a time."""
        return self.executions * self.seconds

    @property
    def kept(self) -> float:
        """The tests whose verdict is so young that their records are kept."""
        return self.executions * FORGET_AFTER


#: Steps of ten.
STEPS: Final = (Step(10, 20, 1_000, 100), Step(100, 200, 10_000, 1_000), Step(1_000, 2_000, 100_000, 10_000))


@dataclass(frozen=True)
class Cost:
    """What one call of an operation costs a server.

    Attributes:
        script: microseconds in the command, by the clock, as ``INFO commandstats`` has it.
        processor: microseconds of processor time, with those of the network, on a server with many connections that
            each send one call at a time.
        alone: the same, on a server that waits for each call.
        batched: the same, if a hundred calls are one round trip.
        commands: of Redis, those in scripts included.
        bytes_in, bytes_out: on the network.
    """

    script: float
    processor: float
    alone: float
    batched: float
    commands: float
    bytes_in: float
    bytes_out: float


@dataclass(frozen=True)
class Publish:
    """What one PUBLISH costs, in microseconds of processor time.

    Attributes:
        alone: on a server without a cluster, with its delivery to a subscriber.
        send: in a cluster, for each other server to which it is sent.
        receive: in a cluster, on each of those.
    """

    alone: float
    send: float
    receive: float


def reads_of_a_wait(seconds: float) -> int:
    """Count the periodic reads of a signal that arrives after ``seconds``."""
    wait, passes = _Backstop(0.0), int(seconds / BACKSTOP)
    return sum(wait.is_due(BACKSTOP * (number + 1)) for number in range(passes))


def noted(processes: int, rate: float, cases: int, every: float = NOTE_EVERY) -> float:
    """Return how many notes a second processes make in the index of open cases.

    Each notes a case at most once in ``every`` seconds. ``rate`` is that of the tests of all of them.
    """
    if not processes:
        return 0.0
    tests = rate * every / processes
    different = cases * (1 - (1 - 1 / cases) ** tests) if cases > 1 else min(1.0, tests)
    return processes * different / every


def rates(step: Step) -> dict[str, float]:
    """Return the calls of each operation per second."""
    executions, sweep = step.executions, step.recover_within * RECOVER_SHARE
    processes = step.workers + step.services
    return {
        "record": executions,
        "signal": executions * step.signals,
        "publish": executions * step.signals,
        "claim": executions,
        "renew": step.waiting / (step.recover_within * LEASE_SHARE / 3),
        "read": executions * reads_of_a_wait(step.seconds),
        "verdict": executions,
        "note": noted(step.services, executions, step.cases) + noted(step.workers, executions, step.cases),
        "due": step.cases / sweep,
        "snapshot": processes / REFRESH_EVERY,
        "sign in": step.workers / SIGN_EVERY,
        "ping": step.workers / PING,
    }


def cores(rate: Mapping[str, float], costs: Mapping[str, Cost], names: tuple[str, ...]) -> float:
    """Return the processors that the operations ``names`` keep busy."""
    return sum(rate[name] * costs[name].processor for name in names) / SECOND


def publishing(rate: float, publish: Publish, servers: int) -> float:
    """Return the share of each server's processor that PUBLISH takes, in a cluster of ``servers``, or on one."""
    others = servers - 1
    return rate / servers * (publish.alone + others * (publish.send + publish.receive)) / SECOND


def servers_for(step: Step, costs: Mapping[str, Cost], publish: Publish, *, most: int = 500) -> int | None:
    """Return the number of servers that keep each one's share within `PLANNED`; None if no number does.

    The hot case and the shared keys are not counted: no number of servers helps them.
    """
    rate = rates(step)
    divided = cores(rate, costs, OF_CASES + ANYWHERE)
    for servers in range(1, most + 1):
        if divided / servers + publishing(rate["publish"], publish, servers) <= PLANNED:
            return servers
    return None


@dataclass(frozen=True)
class Demand:
    """What a step asks, of servers and in all.

    Attributes:
        divided: processors for what is shared out over the servers.
        servers: for that, each at half of its processor, as if PUBLISH were free.
        servers_with_publish: with PUBLISH; None if no number is enough.
        publish: share of a processor that PUBLISH takes of each of ``servers``.
        shared: share of one processor for the keys that all cases share.
        hot: share of one processor for the hot case.
        broker: processors for messages, on Redis.
        commands: of Redis per second, on all servers, those in scripts included.
        bytes: per second on the network of all servers, both ways, without PUBLISH between servers.
        memory: bytes of executions, with those of the last two minutes, without reports.
        heartbeats: of Celery's workers that other workers get per second, unless started ``--without-gossip``.
        recovery: seconds in which one pass of the sweep finds the tests of a tenth of the workers, which have died.
        connections: to each server.
    """

    divided: float
    servers: int
    servers_with_publish: int | None
    publish: float
    shared: float
    hot: float
    broker: float
    commands: float
    bytes: float
    memory: float
    heartbeats: float
    recovery: float
    connections: float

    @property
    def limits(self) -> dict[str, float]:
        """What no further server helps, as shares of one processor, the greatest first.

        Connections are beyond it where they are more than `MAX_CLIENTS`.
        """
        shares = {
            "broker": self.broker,
            "PUBLISH": self.publish,
            "keys of all cases": self.shared,
            "hot case": self.hot,
            "connections": PLANNED * self.connections / MAX_CLIENTS,
        }
        return dict(sorted(shares.items(), key=lambda one: -one[1]))


@dataclass(frozen=True)
class Measured:
    """All that was measured.

    Attributes:
        costs: by name of the operation.
        publish: of PUBLISH.
        open_bytes, kept_bytes: memory of an execution that waits, and of one with a verdict.
        broker: of one message, on Redis, from publish to receipt.
        connections: of a worker, and of a service, to each server.
        mix: processor time of executions in a mix, as a share of the sum of their operations.
    """

    costs: Mapping[str, Cost]
    publish: Publish
    open_bytes: float
    kept_bytes: float
    broker: Cost
    connections: tuple[float, float]
    mix: float = 1.0


def in_mix(measured: Measured) -> dict[str, Cost]:
    """Return the costs of operations that are mixed with others."""
    return {name: replace(cost, processor=cost.processor * measured.mix) for name, cost in measured.costs.items()}


def demand(step: Step, measured: Measured) -> Demand:
    """Return what ``step`` asks, from what was measured."""
    rate, costs = rates(step), in_mix(measured)
    divided = cores(rate, costs, OF_CASES + ANYWHERE)
    servers = max(1, ceil(divided / PLANNED))
    per_worker, per_service = measured.connections
    known = {name: each for name, each in rate.items() if name in costs}
    return Demand(
        divided=divided,
        servers=servers,
        servers_with_publish=servers_for(step, costs, measured.publish),
        publish=publishing(rate["publish"], measured.publish, servers),
        shared=cores(rate, costs, SHARED),
        hot=step.hot * cores(rate, costs, OF_CASES[:-1]),
        broker=step.executions * measured.broker.processor / SECOND,
        commands=sum(each * costs[name].commands for name, each in known.items()) + rate["publish"],
        bytes=sum(each * (costs[name].bytes_in + costs[name].bytes_out) for name, each in known.items()),
        memory=step.waiting * measured.open_bytes + step.kept * measured.kept_bytes,
        heartbeats=step.workers**2 / HEARTBEAT,
        recovery=step.waiting / 10 * ROUND_TRIP,
        connections=step.workers * per_worker + step.services * per_service,
    )
