"""Work that a framework runs after the block in which it was queued, such as background tasks and streams.

Such work is part of the tests that were in force where it was queued. The methods that queue it are replaced when a
test is first in force in a process that has loaded the framework, so that a process without tests is left alone. They
are restored when the last LiveCheck is closed.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import nullcontext
from typing import Any, Final
from weakref import WeakSet

from livecheck_celery.binding import bind
from livecheck_celery.blocks import Block, Work, current_work, mark_in_force, tests_in_force
from livecheck_celery.guard import GUARD
from livecheck_celery.propagation.replacements import Replacements
from livecheck_celery.utils.sanitize import get_logger
from livecheck_celery.utils.signal_handlers import reraise_from_handler

logger: Final = get_logger(__name__)

#: Attribute of a response that is not rendered yet: the block in which it was made.
_BLOCK: Final = "_livecheck_block"

_users: Final[WeakSet[Any]] = WeakSet()
#: By module, the replaced methods of its framework.
_followed: Final[dict[str, Replacements]] = {}


class _Seen:
    """How many modules were loaded when all frameworks among them were followed: each request under test asks."""

    modules = -1


def follow_frameworks() -> None:
    """Make work that is queued from now on part of the tests in force, in all frameworks that are loaded.

    Does nothing without a user, since nobody would restore them.
    """
    loaded = len(sys.modules)
    if loaded == _Seen.modules or not _users:
        return
    for name, follow in _FRAMEWORKS.items():
        if name in _followed or (module := sys.modules.get(name)) is None:
            continue
        if _is_being_imported(module):
            loaded = -1
            continue
        # setdefault() is atomic. A lock could be held for ever, after a fork.
        replacements = Replacements()
        if _followed.setdefault(name, replacements) is replacements:
            try:
                follow(module, replacements)
            except Exception as exc:
                reraise_from_handler(exc)
                logger.warning("deferral: %s: work that it runs later carries no test", name, exc_info=True)
    _Seen.modules = loaded


def add_user(user: object) -> None:
    """Keep the methods replaced for as long as ``user`` is not removed; holds a weak reference."""
    _users.add(user)


def remove_user(user: object) -> None:
    """Restore the methods, if ``user`` was the last one."""
    _users.discard(user)
    _Seen.modules = -1
    while _followed and not _users:
        _, replacements = _followed.popitem()
        replacements.undo()


def _follow_background_tasks(module: Any, replacements: Replacements) -> None:
    """FastAPI and Starlette run background tasks when the response has been sent."""

    def make(init: Callable[..., None]) -> Callable[..., None]:
        def bind_and_init(self: Any, func: Any, *args: Any, **kwargs: Any) -> None:
            init(self, _bound(func), *args, **kwargs)

        return bind_and_init

    replacements.replace(module.BackgroundTask, "__init__", make)


def _follow_streams(module: Any, replacements: Replacements) -> None:
    """FastAPI and Starlette run the generator of a streaming response when the view has returned it.

    Its tests are those in whose block the response was made; behind these, those triggered earlier in the request.
    """

    def make(init: Callable[..., None]) -> Callable[..., None]:
        def init_and_bind(self: Any, *args: Any, **kwargs: Any) -> None:
            init(self, *args, **kwargs)
            with GUARD("stream", "deferral: failed to bind a streaming response; its generator carries no test"):
                tests, mark = tests_in_force(), mark_in_force()
                if tests or mark is not None or current_work() is not None:
                    # Not stream_response(), which subclasses override, as those for server-sent events do.
                    self.body_iterator = _streamed(self.body_iterator, Block(tests, mark))

        return init_and_bind

    replacements.replace(module.StreamingResponse, "__init__", make)


async def _streamed(parts: AsyncIterable[Any], block: Block) -> AsyncIterator[Any]:
    """Yield ``parts``; the task that sends them is part of ``block`` until the last one."""
    if (work := current_work()) is not None:
        work.linger()
    with block:
        async for part in parts:
            yield part


def _follow_payloads(module: Any, replacements: Replacements) -> None:
    """Aiohttp sends a body that is a generator when the handler and all middleware have returned."""

    def make(init: Callable[..., None]) -> Callable[..., None]:
        def bind_and_init(self: Any, value: Any, *args: Any, **kwargs: Any) -> None:
            with GUARD("stream", "deferral: failed to bind a streamed body; its generator carries no test"):
                tests, mark, work = tests_in_force(), mark_in_force(), current_work()
                if isinstance(value, AsyncIterable) and (tests or mark is not None or work is not None):
                    value = _sent_later(value, Block(tests, mark), work)
            init(self, value, *args, **kwargs)

        return bind_and_init

    replacements.replace(module.AsyncIterablePayload, "__init__", make)


async def _sent_later(parts: AsyncIterable[Any], block: Block, work: Work | None) -> AsyncIterator[Any]:
    """As `_streamed`, after ``work``, in which the body was made, has been left; in it, a client sends the body."""
    left = None if work is current_work() else work
    with left or nullcontext():
        if left is not None:
            left.linger()
        with block:
            async for part in parts:
                yield part


def _follow_commits(module: Any, replacements: Replacements) -> None:
    """Django runs callbacks at the end of the transaction, with ATOMIC_REQUESTS after the view."""

    def make(on_commit: Callable[..., None]) -> Callable[..., None]:
        def bind_and_queue(self: Any, func: Any, *args: Any, **kwargs: Any) -> None:
            on_commit(self, _bound(func), *args, **kwargs)

        return bind_and_queue

    replacements.replace(module.BaseDatabaseWrapper, "on_commit", make)


def _follow_templates(module: Any, replacements: Replacements) -> None:
    """Django and its REST framework render a response when the view has returned it."""

    def make_init(init: Callable[..., None]) -> Callable[..., None]:
        def init_and_remember(self: Any, *args: Any, **kwargs: Any) -> None:
            init(self, *args, **kwargs)
            with GUARD("template", "deferral: failed to bind a template response; its rendering carries no test"):
                tests, mark = tests_in_force(), mark_in_force()
                if tests or mark is not None:
                    vars(self)[_BLOCK] = Block(tests, mark)

        return init_and_remember

    def make_render(render: Callable[..., Any]) -> Callable[..., Any]:
        def render_in_block(self: Any, *args: Any, **kwargs: Any) -> Any:
            # Removed, since caches pickle a response that is rendered.
            with vars(self).pop(_BLOCK, None) or nullcontext():
                return render(self, *args, **kwargs)

        return render_in_block

    replacements.replace(module.SimpleTemplateResponse, "__init__", make_init)
    replacements.replace(module.SimpleTemplateResponse, "render", make_render)


def _is_being_imported(module: Any) -> bool:
    return getattr(getattr(module, "__spec__", None), "_initializing", False) is True


def _bound(function: Any) -> Any:
    if callable(function):  # else the framework raises its own error
        with GUARD("deferral", "deferral: failed to bind a function; it carries no test"):
            return bind(function)
    return function


_FRAMEWORKS: Final[dict[str, Callable[[Any, Replacements], None]]] = {
    "starlette.background": _follow_background_tasks,
    "starlette.responses": _follow_streams,
    "aiohttp.payload": _follow_payloads,
    "django.db.backends.base.base": _follow_commits,
    "django.template.response": _follow_templates,
}
