"""The operations that must happen in one step: one file in ``lua/`` each, and how to call it."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any

import redis
from redis.client import Pipeline

Argument = str | int | float | bool | None


class Script:
    """One operation; its file says what it takes and replies."""

    def __init__(self, client: redis.Redis, name: str) -> None:
        self._client = client
        self.source = files("livecheck_celery.store").joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")
        self.sha = sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, keys: Sequence[str], args: Sequence[Argument], pipeline: Pipeline | None = None) -> Any:
        """Run it, or queue it for `execute`; True and False go as 1 and 0, None as an empty string."""
        sent = [_sent(arg) for arg in args]
        # redis-py's own way asks the server each time whether it has the script.
        if pipeline is not None:
            return pipeline.evalsha(self.sha, len(keys), *keys, *sent)
        try:
            return self._client.evalsha(self.sha, len(keys), *keys, *sent)
        except redis.exceptions.NoScriptError:
            return self._client.eval(self.source, len(keys), *keys, *sent)


class Scripts:
    """Every operation, registered with one client."""

    def __init__(self, client: redis.Redis) -> None:
        self.claim = Script(client, "claim")
        self.claim_slot = Script(client, "claim_slot")
        self.due = Script(client, "due")
        self.finish_slot = Script(client, "finish_slot")
        self.lapsed_slot = Script(client, "lapsed_slot")
        self.listen = Script(client, "listen")
        self.override = Script(client, "override")
        self.read = Script(client, "read")
        self.record = Script(client, "record")
        self.recover = Script(client, "recover")
        self.recovered = Script(client, "recovered")
        self.register = Script(client, "register")
        self.release = Script(client, "release")
        self.renew = Script(client, "renew")
        self.renew_slot = Script(client, "renew_slot")
        self.report = Script(client, "report")
        self.sign_of_life = Script(client, "sign_of_life")
        self.signal = Script(client, "signal")
        self.stalled = Script(client, "stalled")
        self.suite_fail = Script(client, "suite_fail")
        self.tally = Script(client, "tally")
        self.verdict = Script(client, "verdict")
        self.watch = Script(client, "watch")
        self.wired = Script(client, "wired")


def execute(scripts: Scripts, client: redis.Redis, pipeline: Pipeline) -> list[Any]:
    """The replies of ``pipeline``, errors among them; of scripts that the server did not know, the source is sent."""
    commands = list(pipeline.command_stack)
    replies = pipeline.execute(raise_on_error=False)
    unknown = [at for at, reply in enumerate(replies) if isinstance(reply, redis.exceptions.NoScriptError)]
    if unknown:
        sources = {script.sha: script.source for script in vars(scripts).values()}
        again = client.pipeline(transaction=False)
        for at in unknown:
            (_, sha, *rest), options = commands[at]
            again.execute_command("EVAL", sources[sha], *rest, **options)  # type: ignore[no-untyped-call]
        for at, reply in zip(unknown, again.execute(raise_on_error=False), strict=True):
            replies[at] = reply
    return replies


def _sent(arg: Argument) -> str | int | float:
    if arg is None:
        return ""
    return int(arg) if isinstance(arg, bool) else arg
