"""A client of a Redis Cluster with bounded waits.

redis-py's own client asks the servers about every command of a pipeline, tries all servers in turn if one is silent,
and retries each command of a pipeline: a thread can wait for minutes. This client waits for at most about twice the
timeout. "Slot" means a hash slot of the cluster; every command that LiveCheck sends uses the keys of one slot.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import redis
from redis.client import Pipeline, PubSub
from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, TryAgainError

from livecheck_celery.store.redis.pool import mark_not_sent

Node = tuple[str, int]
Command = tuple[tuple[Any, ...], dict[str, Any]]

#: Maximum number of times a command is sent, to follow redirections.
_REDIRECTIONS: Final = 10
#: Minimum seconds between two reads of the slot table, while servers are unavailable.
_REREAD_AFTER: Final = 0.2
#: Seconds to wait for a slot that is being moved.
_MOVE_DELAY: Final = 0.02
_KEYLESS: Final = frozenset({"INFO", "PING", "TIME"})


class Cluster(redis.Redis):
    """Send each command to the server that has its key.

    Args:
        hosts: servers of the cluster, one of which must answer the first command.
        connect: makes a client of one server, with a timeout in seconds.
        timeout: seconds a server can take to connect, and to answer.
    """

    def __init__(self, hosts: Sequence[Node], connect: Callable[[Node, float], redis.Redis], timeout: float) -> None:
        self._hosts = list(hosts)
        self._connect = connect
        self._timeout = timeout
        self._clients: dict[tuple[Node, float], redis.Redis] = {}
        self._node_of_slot: dict[int, Node] = {}
        self._stale = True
        self._read_at = 0.0

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command and return its reply."""
        [reply] = self.execute_all([(args, options)])
        if isinstance(reply, Exception):
            raise reply
        return reply

    def pipeline(self, transaction: bool = False, shard_hint: Any = None) -> Pipeline:  # noqa: ARG002 - redis-py's
        """Return a pipeline, which sends commands together, each to its server; it is not a transaction."""
        return _Pipeline(self)

    def pubsub(self, **kwargs: Any) -> PubSub:
        """Return a subscription on any server, since all servers get every published message."""
        self._learn_slots()
        client: Any = self._client(self._any_node(), self._timeout)
        return client.pubsub(**kwargs)  # type: ignore[no-any-return] # see the line above

    def close(self) -> None:
        """Close the connections."""
        for client in list(self._clients.values()):
            client.close()

    def execute_all(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands and return their replies; errors are replies.

        Raises:
            ConnectionError: no server has the slot table.
        """
        self._learn_slots()
        give_up_at = time.monotonic() + self._timeout
        replies: list[Any] = [None] * len(commands)
        due: Sequence[int] = range(len(commands))
        again: tuple[type[redis.RedisError], ...] = (AskError, TryAgainError, _NotReached)  # MOVED is a kind of ASK
        for _ in range(_REDIRECTIONS):
            by_node: dict[Node, list[int]] = {}
            for at in due:
                by_node.setdefault(self._node_for(commands[at][0], replies[at]), []).append(at)
            for node, places in by_node.items():
                asking = [type(replies[at]) is AskError for at in places]
                found = self._send(node, [commands[at] for at in places], asking, give_up_at)
                for at, reply in zip(places, found, strict=True):
                    replies[at] = reply
            due = [at for at in due if isinstance(replies[at], again)]
            if not due or time.monotonic() >= give_up_at:
                break
            if any(isinstance(replies[at], TryAgainError) for at in due):
                time.sleep(_MOVE_DELAY)
            self._learn_slots()
            again = (AskError, TryAgainError)
        return replies

    def _send(self, node: Node, commands: Sequence[Command], asking: Sequence[bool], give_up_at: float) -> list[Any]:
        if time.monotonic() >= give_up_at:
            return [redis.TimeoutError("other servers of the cluster took too long")] * len(commands)
        client = self._client(node, self._timeout)
        try:
            # The pool reopens a closed connection; if this fails, nothing was sent.
            client.connection_pool.release(client.connection_pool.get_connection())
        except (redis.ConnectionError, redis.TimeoutError) as exc:
            self._stale = True
            return [_NotReached(exc)] * len(commands)
        pipeline: Any = client.pipeline(transaction=False)
        for (args, options), is_asking in zip(commands, asking, strict=True):
            if is_asking:
                pipeline.execute_command("ASKING")
            pipeline.execute_command(*args, **options)
        try:
            found = iter(pipeline.execute(raise_on_error=False))
        except (redis.ConnectionError, redis.TimeoutError) as exc:
            self._stale = True
            return [exc] * len(commands)
        replies = [[next(found) for _ in range(1 + is_asking)][-1] for is_asking in asking]  # without those of ASKING
        self._note_redirections(node, replies)
        return replies

    def _note_redirections(self, node: Node, replies: Sequence[Any]) -> None:
        """Update the slot table from replies that redirect."""
        for reply in replies:
            if isinstance(reply, MovedError):
                self._node_of_slot[reply.slot_id] = (reply.host or node[0], reply.port)
            if isinstance(reply, MovedError | ClusterDownError):
                self._stale = True

    # -- the slot table

    def _node_for(self, args: Sequence[Any], earlier: Any) -> Node:
        """Return the server for a command; an ``earlier`` reply can redirect the command to another server."""
        if type(earlier) is AskError:
            return (earlier.host, earlier.port)
        name = str(args[0]).upper()
        if name in _KEYLESS:
            return self._any_node()
        key = str(args[3] if name in ("EVAL", "EVALSHA") else args[1])
        return self._node_of_slot.get(key_slot(key.encode())) or self._any_node()

    def _any_node(self) -> Node:
        return random.choice(list(set(self._node_of_slot.values())))  # noqa: S311 - no secret

    def _client(self, node: Node, timeout: float) -> redis.Redis:
        client = self._clients.get((node, timeout))
        return client or self._clients.setdefault((node, timeout), self._connect(node, timeout))

    def _learn_slots(self) -> None:
        if self._node_of_slot and (not self._stale or time.monotonic() < self._read_at + _REREAD_AFTER):
            return
        self._read_at = time.monotonic()
        give_up_at = self._read_at + self._timeout / 2
        known = list(set(self._node_of_slot.values()) - set(self._hosts))
        error: redis.RedisError = redis.ConnectionError("no server of the cluster answers")
        for node in random.sample(known, len(known)) + random.sample(self._hosts, len(self._hosts)):
            try:
                client: Any = self._client(node, self._timeout / 2)
                slots = client.execute_command("CLUSTER SLOTS")
            except redis.RedisError as exc:
                error = exc
            else:
                self._node_of_slot = _nodes(slots, node)
                if self._node_of_slot:
                    self._stale = False
                    return
                error = ClusterDownError("no server has any slot")
            if time.monotonic() >= give_up_at:
                break
        if not self._node_of_slot:
            raise error


class _NotReached(redis.ConnectionError):
    """A command was not sent: its server is down, and another one can have taken over the slots."""

    def __init__(self, error: redis.RedisError) -> None:
        super().__init__("timed out" if isinstance(error, redis.TimeoutError) else str(error))
        self.__cause__ = error.__cause__ or error.__context__
        mark_not_sent(self)


def _nodes(slots: Any, asked: Node) -> dict[int, Node]:
    """Map each slot to its server; a server without an address in the table is the one that was ``asked``."""
    found = {}
    for first, last, (host, port, *_), *_ in slots:
        found.update(dict.fromkeys(range(first, last + 1), (host or asked[0], int(port))))
    return found


class _Pipeline(Pipeline):
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.connection = None
        self.watching = self.explicit_transaction = False
        self.command_stack: list[Command] = []

    def reset(self) -> None:  # type: ignore[override] # as in redis-py
        self.command_stack = []

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        commands, self.command_stack = self.command_stack, []
        replies = self._cluster.execute_all(commands) if commands else []
        if raise_on_error and (error := next((one for one in replies if isinstance(one, Exception)), None)):
            raise error
        return replies
