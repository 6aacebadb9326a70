"""Draw a run's orders and faults from its seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from random import Random
from typing import Final, Literal

Case = Literal["plain", "async"]
Kind = Literal["pass", "fail", "raise", "skip", "timeout", "expire"]

#: Name of the case that fake requests trigger.
SCHEDULED: Final = "scheduled"
#: The expected verdict of each kind of order.
EXPECTED: Final[dict[str, str]] = {
    "pass": "PASS",
    "fail": "FAIL",
    "raise": "ERROR",
    "skip": "SKIP",
    "timeout": "TIMEOUT",
    "expire": "TIMEOUT",
}
FREEZE: Final = "SIGSTOP"
_LONGEST_FAULT: Final = 4.0
_SHARES: Final[dict[Kind, int]] = {"pass": 80, "fail": 6, "raise": 4, "skip": 2, "timeout": 4, "expire": 4}


@dataclass(frozen=True)
class Order:
    """One order, which triggers one test.

    Attributes:
        id: of the order and of its test; used once.
        case: name of the case that tests it.
        trigger: ``inline``: ``trigger()``; ``options``: ``trigger.apply_async()``; ``request``: ``maybe_trigger()``.
        kind: determines the expected verdict; with ``timeout`` and ``expire``, the second signal is never sent.
        value: random value that both signals carry; for the kind ``fail``, the second one carries another value.
        pay: where the first signal is sent: ``here``, by the service that placed the order; ``http``, by another one.
        ship: sender of the second signal: a Celery ``task``; the driver, ``later``; or nothing, ``never``.
        delay: seconds until the second signal is sent.
        countdown: of ``apply_async()``, in seconds.
    """

    id: str
    case: Case
    trigger: Literal["inline", "options", "request"]
    kind: Kind
    value: str
    pay: Literal["here", "http"]
    ship: Literal["task", "later", "never"]
    delay: float
    countdown: float

    @property
    def signals(self) -> dict[str, str]:
        """The value of each signal that is sent, by name."""
        if self.ship == "never":
            return {"paid": self.value}
        return {"paid": self.value, "shipped": f"not {self.value}" if self.kind == "fail" else self.value}


def orders(seed: int, longest_delay: float) -> Iterator[Order]:
    """Yield orders without end; each depends on the seed and its number only."""
    number = 0
    while True:
        number += 1
        random = Random(f"{seed} order {number}")  # noqa: S311 - repeatable, not secret
        [kind] = random.choices(list(_SHARES), list(_SHARES.values()))
        late = random.random() < 1 / 20
        yield Order(
            id=f"{number:06}-{random.getrandbits(32):08x}",
            case=random.choice(["plain", "async"]),
            trigger="options" if kind == "expire" else random.choice(["inline", "options", "request", "request"]),
            kind=kind,
            value=f"{random.getrandbits(64):016x}",
            pay=random.choice(["here", "http"]),
            ship="never" if kind in ("timeout", "expire") else random.choice(["task", "later"]),
            delay=random.uniform(0, longest_delay) if late else random.expovariate(1.5),
            countdown=0.0 if kind == "expire" else random.uniform(0, longest_delay / 3),
        )


@dataclass(frozen=True)
class Fault:
    """A fault to inject.

    Attributes:
        number: position among the run's faults, from 1.
        at: number of executions that must have been triggered before.
        action: action on the target; see `chaos.faults`.
        target: name of a process, a server or a link.
        seconds: duration: until the restart, the SIGCONT, or the end of a network fault.
    """

    number: int
    at: int
    action: str
    target: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.action} {self.target}"


def faults(
    seed: int,
    executions: int,
    kills: int,
    ending: Sequence[tuple[str, str]],
    others: Sequence[Sequence[tuple[str, str]]],
    *,
    longest_freeze: float,
) -> list[Fault]:
    """Draw ``kills`` faults from ``ending`` and as many from ``others``, spread over the executions.

    Args:
        seed: of the run.
        executions: how many the run triggers.
        kills: how many processes to end.
        ending: (action, target) pairs that end a process.
        others: groups of other pairs; each group gives an equal part.
        longest_freeze: maximum duration of a freeze, in seconds; of all other faults, it is 4.

    Within a group, no pair is repeated before all others were drawn.
    """
    random = Random(f"{seed} faults")  # noqa: S311 - repeatable, not secret
    decks = [_shuffled(random, pairs) for pairs in others]
    chosen = [*islice(_shuffled(random, ending), kills), *(next(deck) for deck in islice(cycle(decks), kills))]
    random.shuffle(chosen)
    found = []
    for number, (action, target) in enumerate(chosen, 1):
        # From 2 % to 92 %: when tests are running, and while some are still to be triggered.
        place = 0.02 + 0.9 * (number - 1 + random.random()) / len(chosen)
        seconds = random.uniform(0.2, longest_freeze if action == FREEZE else _LONGEST_FAULT)
        found.append(Fault(number, int(executions * place), action, target, round(seconds, 1)))
    return found


def _shuffled(random: Random, pairs: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    deck = list(pairs)
    while True:
        random.shuffle(deck)
        yield from deck
