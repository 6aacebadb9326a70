"""What a run does, all of it drawn from the seed: the orders that are placed, and what befalls whom when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from random import Random
from typing import Final, Literal

Case = Literal["plain", "async"]
Kind = Literal["pass", "fail", "raise", "skip", "timeout", "expire"]

#: The verdict that is due to each kind of order.
DUE: Final[dict[str, str]] = {
    "pass": "PASS",
    "fail": "FAIL",
    "raise": "ERROR",
    "skip": "SKIP",
    "timeout": "TIMEOUT",
    "expire": "TIMEOUT",
}
FREEZE: Final = "SIGSTOP"
_LONGEST: Final = 4.0
_SHARES: Final[dict[Kind, int]] = {"pass": 80, "fail": 6, "raise": 4, "skip": 2, "timeout": 4, "expire": 4}


@dataclass(frozen=True)
class Order:
    """One order, whose handling is tested once.

    Attributes:
        id: of the order and of its test; never used again.
        case: which case tests it.
        trigger: ``inline``, by who wants to know; with Celery's ``options``; or by ``chance``, in a request.
        kind: what is to become of the test; both ``timeout`` and ``expire`` wait for a signal that never comes.
        value: what both signals carry when all is well; nobody could guess it.
        pay: whether the first signal is sent ``here``, where the order is placed, or by another service over ``http``.
        ship: whether the second signal is sent by a Celery ``task``, ``later`` by the driver, or ``never``.
        delay: seconds until the second signal is sent.
        countdown: seconds until the test is to run, where it is triggered with options.
    """

    id: str
    case: Case
    trigger: Literal["inline", "options", "chance"]
    kind: Kind
    value: str
    pay: Literal["here", "http"]
    ship: Literal["task", "later", "never"]
    delay: float
    countdown: float

    @property
    def signals(self) -> dict[str, str]:
        """The signals that are sent, and what they carry."""
        if self.ship == "never":
            return {"paid": self.value}
        return {"paid": self.value, "shipped": f"not {self.value}" if self.kind == "fail" else self.value}


def orders(seed: int, longest_delay: float) -> Iterator[Order]:
    """The orders of a run, without end; each is a matter of the seed and its number alone."""
    number = 0
    while True:
        number += 1
        chance = Random(f"{seed} order {number}")  # noqa: S311 - to be repeated, not to be secret
        [kind] = chance.choices(list(_SHARES), list(_SHARES.values()))
        late = chance.random() < 1 / 20
        yield Order(
            id=f"{number:06}-{chance.getrandbits(32):08x}",
            case=chance.choice(["plain", "async"]),
            trigger="options" if kind == "expire" else chance.choice(["inline", "options", "chance", "chance"]),
            kind=kind,
            value=f"{chance.getrandbits(64):016x}",
            pay=chance.choice(["here", "http"]),
            ship="never" if kind in ("timeout", "expire") else chance.choice(["task", "later"]),
            delay=chance.uniform(0, longest_delay) if late else chance.expovariate(1.5),
            countdown=0.0 if kind == "expire" else chance.uniform(0, longest_delay / 3),
        )


@dataclass(frozen=True)
class Fault:
    """Something that befalls someone.

    Attributes:
        number: its place among the run's faults, from 1.
        at: how many executions must have been triggered before.
        rule: what happens; see `chaos.rules`.
        target: to whom.
        seconds: how long it lasts: until the next start, the thaw, or the mending of the network.
    """

    number: int
    at: int
    rule: str
    target: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.rule} {self.target}"


def faults(
    seed: int,
    executions: int,
    kills: int,
    ending: Sequence[tuple[str, str]],
    others: Sequence[Sequence[tuple[str, str]]],
    *,
    longest_freeze: float,
) -> list[Fault]:
    """``kills`` faults of the (rule, target) pairs ``ending`` and as many of the ``others``, in equal parts of each.

    They are spread over the executions, and none comes a second time before all of its like have come once. A frozen
    program is frozen for up to ``longest_freeze`` seconds, all else lasts for up to 4.
    """
    chance = Random(f"{seed} faults")  # noqa: S311 - to be repeated, not to be secret
    decks = [_dealt(chance, pairs) for pairs in others]
    chosen = [*islice(_dealt(chance, ending), kills), *(next(deck) for deck in islice(cycle(decks), kills))]
    chance.shuffle(chosen)
    found = []
    for number, (rule, target) in enumerate(chosen, 1):
        # Not before anything runs, nor so late that nothing is left to be disturbed.
        place = 0.02 + 0.9 * (number - 1 + chance.random()) / len(chosen)
        seconds = chance.uniform(0.2, longest_freeze if rule == FREEZE else _LONGEST)
        found.append(Fault(number, int(executions * place), rule, target, round(seconds, 1)))
    return found


def _dealt(chance: Random, pairs: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    deck = list(pairs)
    while True:
        chance.shuffle(deck)
        yield from deck
