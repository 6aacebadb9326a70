"""The LiveCheck instances that a command works on, from ``-A`` or from the default app."""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import click
from celery import Celery
from celery.app.utils import find_app
from celery.utils.imports import import_from_cwd

from livecheck_celery.base_livecheck import BaseLiveCheck, livechecks_of
from livecheck_celery.cli.dev_server import default_url, running_server, uses
from livecheck_celery.cli.errors import CliError
from livecheck_celery.errors import LiveCheckError
from livecheck_celery.livecheck import LiveCheck
from livecheck_celery.utils.sanitize import type_and_message

#: New objects after which the garbage collector looks at them: it finds little in what a command reads and prints.
_THRESHOLD: Final = 100_000
#: A module or module:attribute, both with points; the name of a module cannot end with its suffix.
_NAME: Final = re.compile(r"(?!.*\.py$)\w+(\.\w+)*(:\w+(\.\w+)*)?")


def app_name(ctx: click.Context) -> str | None:
    """Return the value of ``-A``, for ``livecheck`` as for ``celery``; None without it."""
    root = ctx.find_root()
    named = root.params.get("app")
    if isinstance(named, Celery):  # older releases of `celery` replace the name with the app
        option = next(each for each in root.command.params if each.name == "app")
        arguments, _, _ = root.command.make_parser(root).parse_args(sys.argv[1:])
        named, _ = option.consume_value(root, arguments)
    return named if isinstance(named, str) else None


def find_livechecks(ctx: click.Context) -> list[BaseLiveCheck]:
    """Return the LiveCheck instances that ``-A`` names, or those of the default app; imports the modules of the app.

    Without a server in the environment, the default is that of a running ``dev`` for the same app.

    Raises:
        CliError: the module does not exist, fails to import, or defines neither a Celery app nor a LiveCheck.
    """
    name = app_name(ctx)
    url = running_server(name)
    with default_url(url) as added, _objects_kept():
        livechecks = _find(ctx, name)
        if not added or url is None:
            return livechecks
        _read_settings_again(livechecks)  # `celery` has imported the app, and read its settings, before
        if uses(livechecks[0], url):
            added.clear()  # the variables stay, for settings that are read later
            return livechecks
    _read_settings_again(livechecks)  # the app names another server
    return livechecks


@contextmanager
def _objects_kept() -> Iterator[None]:
    """Keep the garbage collector from looking at the objects of the block, which live as long as the process.

    It would look at all of ten thousand cases again and again, which takes a third of the time of their declaration.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(_THRESHOLD)
        if was_enabled:
            gc.enable()


def _read_settings_again(livechecks: Iterable[BaseLiveCheck]) -> None:
    for each in livechecks:
        vars(each).pop("settings", None)


def _find(ctx: click.Context, name: str | None) -> list[BaseLiveCheck]:
    celery_app = getattr(ctx.obj, "app", None)
    if isinstance(celery_app, Celery) and ctx.find_root().params.get("app"):  # by name, or the app itself
        return _on_apps([celery_app])
    if name:
        return _find_named(name)
    from livecheck_celery.worker import app  # noqa: PLC0415 - created at first use, and only needed here

    return _on_apps([app])


def distinct(livechecks: Sequence[BaseLiveCheck], *settings: str) -> list[BaseLiveCheck]:
    """Return one instance for each combination of values of ``settings``.

    Several modules may create a LiveCheck on the same Celery app, all with the same state.
    """
    return list({tuple(getattr(each.settings, name) for name in settings): each for each in livechecks}.values())


def _find_named(name: str) -> list[BaseLiveCheck]:
    if not _NAME.fullmatch(name):
        hint = f"give its name, such as {path.stem}" if (path := Path(name)).suffix == ".py" else "such as shop.checks"
        raise CliError(f"-A {name!r} is not the name of a module, or module:attribute", hint)
    found = _import(name)
    if _is_livecheck(found):
        _import_modules_of(found.app)
        return [found]
    apps = [found] if isinstance(found, Celery) else []
    if ":" not in name:
        module = sys.modules.get(name)
        apps += [each.app for each in vars(module).values() if _is_livecheck(each)] if module else []
    if not apps:
        raise CliError(
            f"{name} defines neither a Celery app nor a LiveCheck",
            "give the module that does, or module:attribute",
        )
    return _on_apps(apps)


def _is_livecheck(value: Any) -> bool:
    """Return whether ``value`` is a LiveCheck; isinstance() would evaluate lazy objects of the user's module."""
    return issubclass(type(value), BaseLiveCheck)


def _app_of_livecheck(name: str) -> Celery | None:
    """Return the app of the first LiveCheck in a module in which Celery would search its app among all globals."""
    with suppress(ImportError):  # a package, or an attribute after a point: Celery's rules apply
        found = vars(import_from_cwd(name))
        if not {"app", "celery", "__path__"} & found.keys():
            return next((each.app for each in found.values() if _is_livecheck(each)), None)
    return None


def _import(name: str) -> Any:
    module = name.partition(":")[0]
    try:
        return _app_of_livecheck(name) or find_app(name)
    except ModuleNotFoundError as exc:
        if exc.name and ":" in exc.name:
            attribute = name.partition(":")[2]
            raise CliError(f"{module} has no attribute {attribute!r}", "-A takes module:attribute") from None
        if exc.name and (module == exc.name or module.startswith(f"{exc.name}.")):
            hint = "run the command in the directory that contains the module, or set PYTHONPATH"
            raise CliError(f"no module named {exc.name!r} (-A {name})", hint) from None
        raise _import_error(name, exc) from None
    except AttributeError as exc:
        # Celery raises it for a module without an app. The module's own AttributeError leaves it out of sys.modules.
        if module in sys.modules:
            return None
        raise _import_error(name, exc) from None
    except LiveCheckError:
        raise
    except Exception as exc:  # noqa: BLE001 - a user's module may raise anything
        raise _import_error(name, exc) from None


def _import_error(name: str, error: Exception) -> CliError:
    module = name.partition(":")[0]
    return CliError(
        f"cannot import {name}: {type_and_message(error)}",
        f"`python -c 'import {module}'` shows the traceback",
    )


def _import_modules_of(celery_app: Celery) -> None:
    try:
        celery_app.loader.import_default_modules()
    except LiveCheckError:
        raise
    except Exception as exc:  # noqa: BLE001 - as above
        raise CliError(
            f"cannot import the modules of the Celery app: {type_and_message(exc)}",
            "check `imports` in the Celery configuration, and LIVECHECK_CASES",
        ) from None


def _on_apps(apps: Iterable[Celery]) -> list[BaseLiveCheck]:
    found: list[BaseLiveCheck] = []
    for celery_app in dict.fromkeys(apps):
        _import_modules_of(celery_app)
        found += livechecks_of(celery_app) or [LiveCheck.for_app(celery_app)]
    return found
