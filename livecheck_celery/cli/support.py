"""What the commands share: errors, and how they find the LiveCheck that is meant."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import click
from celery import Celery
from celery.app.utils import find_app

from livecheck_celery.config import seconds
from livecheck_celery.errors import (
    BrokerUnavailable,
    DuplicateTest,
    LiveCheckError,
    RedisUnavailable,
)
from livecheck_celery.livecheck import LiveCheck, livechecks_of
from livecheck_celery.store import Store
from livecheck_celery.store.liveness import SignsOfLife
from livecheck_celery.utils.sanitize import sanitize

#: Seconds for which beat, and the workers that execute what it sends every few seconds, may be silent.
SILENCE: Final = 60.0

_DOCTOR: Final = "`livecheck doctor` checks Redis, the broker, the workers and beat"


class CliError(click.ClickException):
    """A mistake of the user, or something that does not answer: one line, a hint, exit code 2."""

    exit_code = 2

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(sanitize(" ".join(message.split())))
        self.hint = sanitize(hint)

    def show(self, file: Any = None) -> None:  # noqa: ARG002 - click's signature
        """Print to standard error."""
        click.secho(f"Error: {self.message}", err=True, fg="red")
        if self.hint:
            click.echo(f"Hint: {self.hint}", err=True)


@contextmanager
def readable_errors() -> Iterator[None]:
    """Turn the errors people can cause or mend into a CliError."""
    try:
        yield
    except click.UsageError as exc:
        raise _usage(exc) from None
    except LiveCheckError as exc:
        raise CliError(str(exc), _hint(exc)) from None


def _hint(error: LiveCheckError) -> str:
    if isinstance(error, RedisUnavailable | BrokerUnavailable):
        return _DOCTOR
    if isinstance(error, DuplicateTest):
        return "choose another --id, or wait for its verdict"
    return ""


def _usage(error: click.UsageError) -> CliError:
    command = error.ctx.command_path if error.ctx else "livecheck"
    if isinstance(error, click.NoSuchOption) and error.option_name in {"-A", "--app"}:
        program, _, rest = command.partition(" ")
        return CliError(f"{error.option_name} goes before the command", f"{program} {error.option_name} module {rest}")
    return CliError(error.format_message(), f"`{command} --help` explains it")


class Duration(click.ParamType[float]):
    """Seconds, or a number with a unit: 30, 30s, 5m, 3h."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds as a number.

        Raises:
            click.BadParameter: it is not a duration, or not above zero.
        """
        try:
            number = float(seconds(value))
        except ValueError:
            number = 0.0
        if not 0 < number < float("inf"):
            self.fail(f"{value!r} is not a duration above zero, such as 30, 30s or 5m", param, ctx)
        return number


def unknown_name(kind: str, name: str, names: Iterable[str], *, otherwise: str = "") -> CliError:
    """The error for a name nobody has; suggests the nearest one, else says ``otherwise``."""
    spellings = {spelling: full for full in names for spelling in (full.rpartition(".")[2], full)}
    near = difflib.get_close_matches(name, spellings, n=1)
    return CliError(f"no {kind} named {name!r}", f"did you mean {spellings[near[0]]}?" if near else otherwise)


def case_called(name: str, names: Sequence[str], *, otherwise: str = "") -> str:
    """The full name of the case that is called ``name``, in full or by the last parts of its dotted name.

    Raises:
        CliError: there is none, or more than one.
    """
    if name in names:
        return name
    matching = [full for full in names if full.endswith(f".{name}")]
    if len(matching) > 1:
        raise CliError(f"{name!r} could be {' or '.join(matching)}", "give the full name")
    if not matching:
        raise unknown_name("case", name, names, otherwise=otherwise)
    return matching[0]


class Known(NamedTuple):
    """A case that somebody declared: here, or in a worker that has told Redis.

    Attributes:
        store: where its state is.
        settings: as the workers run it; as declared here when no worker has run it yet. What was changed at run time
            is in it, and named under ``overridden``.
    """

    store: Store
    settings: dict[str, Any]


def known_cases(livechecks: Sequence[LiveCheck]) -> dict[str, Known]:
    """The cases of ``livechecks`` by name, also those that this process has not imported.

    Raises:
        RedisUnavailable: Redis did not answer.
    """
    known = {
        name: Known(each.runtime.store, case.describe()) for each in livechecks for name, case in each.cases.items()
    }
    for each in distinct(livechecks, "redis_url", "prefix"):
        known.update(
            {
                name: Known(each.runtime.store, settings)
                for name, settings in each.runtime.store.registry.cases().items()
            }
        )
        wired = each.runtime.store.registry.snapshot()
        for name, overrides in wired.overrides.items() if wired else ():
            if name in known:
                known[name].settings.update({**overrides, "overridden": sorted(overrides)})
    return dict(sorted(known.items()))


def distinct(livechecks: Sequence[LiveCheck], *settings: str) -> list[LiveCheck]:
    """One of those that do not differ in ``settings``; each module may make a LiveCheck on the same Celery app."""
    return list({tuple(getattr(each.settings, name) for name in settings): each for each in livechecks}.values())


def is_silent(seconds: float | None) -> bool:
    """Whether a sign of life so long ago, or None at all, is one of death."""
    return seconds is None or seconds > SILENCE


def silent_parts(signs: SignsOfLife) -> list[str]:
    """A sentence on what gives no sign of life, for who looks at the cases; none when all do."""
    if is_silent(signs.beat):
        return ["Beat is silent: no fake requests, stalled checks and recovery until it runs; see `livecheck doctor`."]
    if is_silent(signs.schedules):
        return ["No worker executes what beat sends; see `livecheck doctor`."]
    return []


def app_name(ctx: click.Context) -> str | None:
    """What -A named, for ``livecheck`` as for ``celery``; None without it."""
    named = ctx.find_root().params.get("app")
    return named if isinstance(named, str) else None


def find_livechecks(ctx: click.Context) -> list[LiveCheck]:
    """The LiveChecks that -A names, or the package's own, with the modules of their Celery app loaded.

    Raises:
        CliError: the module is missing, cannot be imported, or holds neither a Celery app nor a LiveCheck.
    """
    celery_app = getattr(ctx.obj, "app", None)
    name = app_name(ctx)
    if isinstance(celery_app, Celery) and name:
        return _on_apps([celery_app])
    if name:
        return _named(name)
    from livecheck_celery import app  # noqa: PLC0415 - made at first use, and only wanted here

    return _on_apps([app])


def _named(name: str) -> list[LiveCheck]:
    found = _import(name)
    if isinstance(found, LiveCheck):
        _load(found.app)
        return [found]
    apps = [found] if isinstance(found, Celery) else []
    if ":" not in name:
        module = sys.modules.get(name)
        apps += [each.app for each in vars(module).values() if isinstance(each, LiveCheck)] if module else []
    if not apps:
        raise CliError(
            f"{name} holds neither a Celery app nor a LiveCheck",
            "name the module that does, or module:attribute",
        )
    return _on_apps(apps)


def _import(name: str) -> Any:
    module = name.partition(":")[0]
    try:
        return find_app(name)
    except ModuleNotFoundError as exc:
        if exc.name and ":" in exc.name:
            raise CliError(
                f"{module} has no attribute {name.partition(':')[2]!r}", "-A takes module:attribute"
            ) from None
        if exc.name and (module == exc.name or module.startswith(f"{exc.name}.")):
            raise CliError(f"no module named {exc.name!r}, wanted by -A {name}", "is it in this directory?") from None
        raise _cannot_import(name, exc) from None
    except AttributeError as exc:
        # Celery's way to say that the module holds no app; or the module's own error, and then it is not loaded.
        if module in sys.modules:
            return None
        raise _cannot_import(name, exc) from None
    except LiveCheckError:
        raise
    except Exception as exc:  # noqa: BLE001 - a user's module may raise anything
        raise _cannot_import(name, exc) from None


def _cannot_import(name: str, error: Exception) -> CliError:
    module = name.partition(":")[0]
    return CliError(
        f"cannot import {name}: {type(error).__name__}: {error}",
        f"`python -c 'import {module}'` shows where",
    )


def _load(celery_app: Celery) -> None:
    try:
        celery_app.loader.import_default_modules()
    except LiveCheckError:
        raise
    except Exception as exc:  # noqa: BLE001 - as above
        raise CliError(
            f"cannot load the modules the app names: {type(exc).__name__}: {exc}",
            "see `imports` in the Celery configuration, and LIVECHECK_CASES",
        ) from None


def _on_apps(apps: Iterable[Celery]) -> list[LiveCheck]:
    found: list[LiveCheck] = []
    for celery_app in dict.fromkeys(apps):
        _load(celery_app)
        found += livechecks_of(celery_app) or [LiveCheck.for_app(celery_app)]
    return found
