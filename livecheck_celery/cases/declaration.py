"""Read the declaration of a case: its name and its signals."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from types import FunctionType, new_class
from typing import Any, ClassVar, Final, TypeVar, cast, get_args, get_origin, get_type_hints

from celery.schedules import BaseSchedule

from livecheck_celery.cases.base_signal import BaseSignal
from livecheck_celery.cases.clashes import check_signal
from livecheck_celery.cases.protocols import CaseApp, DeclaredCase
from livecheck_celery.cases.value_types import value_type_of
from livecheck_celery.config import NOT_GIVEN, CaseSettings
from livecheck_celery.errors import ConfigurationError
from livecheck_celery.utils.annotations import annotations_of
from livecheck_celery.utils.durations import seconds
from livecheck_celery.utils.sanitize import is_printable, type_and_message

F = TypeVar("F", bound=Callable[..., None])
C = TypeVar("C")

_PACKAGE: Final = f"{__name__.partition('.')[0]}."
#: Longest name of a case, in characters.
MAX_NAME: Final = 512


def with_given(init: F) -> F:
    """Make ``self._given`` the names of the arguments of a call of ``init``, since None is a value of some options."""

    @wraps(init)
    def init_with_given(self: Any, *args: Any, **kwargs: Any) -> None:
        self._given = frozenset(kwargs)
        init(self, *args, **kwargs)

    return cast("F", init_with_given)


def default_name(cls: type, main: str | None) -> str:
    """Return the name of a case that has none of its own: module and class.

    Args:
        cls: the class of the case.
        main: name of the Celery app, the module of classes of a script.
    """
    module = cls.__module__
    if module == "__main__":
        module = main if main and main != "__main__" else Path(sys.argv[0]).stem
    return f"{module}.{cls.__qualname__}"


def check_name(name: str) -> None:
    """Validate the name of a case.

    Raises:
        ConfigurationError: the name is empty or not text, has curly brackets, is too long, or is not printable.
    """
    if not isinstance(name, str):
        raise ConfigurationError(f"case {name!r:.100}: name: must be text; give it another name=")
    if "{" in name or "}" in name:
        raise ConfigurationError(f"case {name!r:.100}: name: curly brackets are reserved; give it another name=")
    if not name or not is_printable(name) or len(name) > MAX_NAME:
        # Celery logs the names of beat entries unescaped.
        raise ConfigurationError(
            f"case {name!r:.100}: name: must be 1 to {MAX_NAME} printable characters; give it another name="
        )


def check_class(cls: Any, case: type) -> None:
    """Check that ``cls`` is a class, which `LiveCheck.case` can decorate.

    Raises:
        ConfigurationError: it is a case already, or not a class.
    """
    if isinstance(cls, case):
        raise ConfigurationError(f"case {getattr(cls, 'name', cls)}: is decorated twice; remove one of the decorators")
    if not isinstance(cls, type):
        given = getattr(cls, "__qualname__", repr(cls))
        raise ConfigurationError(f"case: {given:.100} is not a class; decorate a class, and give a name as name=")


def check_made(case: Any, base: type[Any], app: CaseApp, options: Mapping[str, Any]) -> None:
    """Check that ``case`` is an instance of ``base`` that was made by hand for ``app``, without further ``options``.

    Raises:
        ConfigurationError: it is not.
    """
    if not isinstance(case, base):
        raise ConfigurationError(f"add_case(): {case!r:.100} is neither a case nor the class of one")
    _check_init(case, getattr(case, "name", type(case).__qualname__))
    if case.app is not app:
        raise ConfigurationError(
            f"case {case.name}: was made for another LiveCheck; add it there, or give it this app="
        )
    if options:
        raise ConfigurationError(f"case {case.name}: is made already; give {', '.join(options)} to its class")


def case_class(cls: type, base: type[C]) -> type[C]:
    """Return ``cls`` if it is a subclass of ``base``, else a class that inherits from both.

    Raises:
        ConfigurationError: Python cannot combine the two classes.
    """
    if issubclass(cls, base):
        return cls
    body = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    try:
        return cast("type[C]", new_class(cls.__name__, (cls, base), exec_body=lambda names: names.update(body)))
    except Exception as exc:
        raise ConfigurationError(
            f"case {cls.__qualname__}: the class cannot be combined with {base.__name__}: {type_and_message(exc)}"
        ) from exc


def face_of(cls: type) -> type:
    """Return the class of all cases of the face of ``cls``, its first base that is LiveCheck's."""
    return next(one for one in cls.__mro__ if one.__module__.startswith(_PACKAGE))


def create(cls: Callable[..., C], *, name: str, **options: Any) -> C:
    """Create the case ``name`` of class ``cls``.

    Raises:
        ConfigurationError: an option or a signal is wrong, or the class has an ``__init__`` that is not one of a case.
    """
    try:
        case = cls(name=name, **options)
    except (TypeError, AttributeError) as exc:  # dataclasses, abstract and frozen classes
        raise ConfigurationError(
            f"case {name}: the class cannot be a case: {type_and_message(exc)}; an __init__ must take keyword "
            "arguments and pass them to super().__init__(**kwargs)"
        ) from exc
    _check_init(case, name)
    return case


def _check_init(case: object, name: str) -> None:
    if not hasattr(case, "async_exit_stack"):  # the last attribute that Case.__init__ sets
        raise ConfigurationError(
            f"case {name}: __init__ of the class must take keyword arguments and call super().__init__(**kwargs)"
        )


def class_options(cls: type, base: type) -> dict[str, Any]:
    """Return the options that ``cls`` and its bases before ``base``, the class of all cases, have as attributes."""
    own = cls.__mro__[: cls.__mro__.index(base)]
    return {name: vars(one)[name] for one in reversed(own) for name in vars(one) if name in CaseSettings.model_fields}


def resolve_options(
    case_name: str, app: CaseApp, class_attributes: Mapping[str, Any], given: Mapping[str, Any]
) -> CaseSettings:
    """Return the options of a case: those ``given``, its class attributes, then those configured for all cases.

    A wrong value in the Celery configuration or the environment makes ``app.settings`` raise, not the declaration: a
    web process imports the cases, and must serve without tests.

    Raises:
        ConfigurationError: an option of the declaration is unknown or wrong.
    """
    owner = f"case {case_name}"
    sources = getattr(app, "setting_sources", None)
    if sources is None:
        raise ConfigurationError(f"{owner}: app: {app!r:.100} is not a LiveCheck")

    def class_attribute(name: str) -> Any:
        return class_attributes.get(name, NOT_GIVEN)

    try:
        return CaseSettings.resolve(owner, (class_attribute, *sources), given)
    except ConfigurationError as exc:
        settings = CaseSettings.resolve(owner, (class_attribute,), given)
        app.refuse_settings(exc)
        return settings


def description(case: DeclaredCase, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``options`` and signals of ``case`` as JSON types."""
    settings = {name: _plain(value) for name, value in sorted(options.items())}
    return {
        "name": case.name,
        **settings,
        "signals": list(case.signals),
        "sources": {name: signal.source for name, signal in case.signals.items() if signal.source},
        "total_signals": len(case.signals),
    }


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, BaseSchedule) else seconds(value)


def resolve_annotations(cls: type, local_names: Mapping[str, Any]) -> None:
    """Evaluate annotations of ``cls`` and its bases that are text: of signals, and of the arguments of ``run()``.

    An annotation can refer to ``local_names`` of the function that declares the class, which are not available later.
    Text that cannot be evaluated stays: `declared_signals` reports it, and so does the runner.
    """
    for one in _application_classes(cls):
        _resolve_arguments(one, local_names if one.__module__ == cls.__module__ else {})
        annotations = annotations_of(one)
        resolved = {
            name: hint
            for name, annotation in annotations.items()
            if isinstance(annotation, str) and _is_signal(hint := _evaluate(one, name, annotation, local_names))
        }
        if resolved:
            one.__annotations__ = {**annotations, **resolved}


def _resolve_arguments(cls: type, local_names: Mapping[str, Any]) -> None:
    run: Any = vars(cls).get("run")
    function = inspect.unwrap(getattr(run, "__func__", run))
    if not isinstance(function, FunctionType):
        return
    annotations = annotations_of(function)
    visible = {**function.__globals__, **local_names}
    hints = {name: _evaluate(cls, name, text, visible) for name, text in annotations.items() if isinstance(text, str)}
    resolved = {name: hint for name, hint in hints.items() if not isinstance(hint, Exception)}
    if resolved:
        function.__annotations__ = {**annotations, **resolved}


class Declaration:
    """What the definition of a case class does, whether the class is decorated or not."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Make each annotated signal an attribute, so that also a class that is not decorated has it."""
        super().__init_subclass__(**options)
        for name, annotation in annotations_of(cls).items():
            hint = _evaluate(cls, name, annotation, {}) if isinstance(annotation, str) else annotation
            if _is_signal(hint) and inspect.getattr_static(cls, name, None) is None:
                with suppress(Exception):  # reported when the case is created, unless the signal is given then
                    setattr(cls, name, _signal(name, hint))


def declared_signals(cls: type, case_name: str, given: Container[str] = ()) -> dict[str, BaseSignal[Any]]:
    """Return the signals of ``cls`` and its bases by attribute: annotated ones, in order, then those only assigned.

    One that is ``given`` by name, and not assigned, is a `BaseSignal` with the type of the annotation.

    Raises:
        ConfigurationError: the annotation of a signal cannot be evaluated, or a signal cannot be made.
    """
    found: dict[str, BaseSignal[Any]] = {}
    for one in reversed(_application_classes(cls)):
        found |= dict(_annotated(one, case_name, given))
        found |= {name: signal for name, signal in _assigned(one) if name not in found}
    return found


def bound_signals(
    case: DeclaredCase, given: Iterable[BaseSignal[Any]], base: type
) -> Iterator[tuple[str, BaseSignal[Any]]]:
    """Yield copies of the signals that the class of ``case`` declares, and of the ``given`` ones, by attribute.

    A given signal replaces the declared one of its name; the annotation gives its type.

    Raises:
        ConfigurationError: a signal clashes with another attribute or signal, cannot be copied, or is wrong.
    """
    cls, by_name = type(case), dict[str, BaseSignal[Any]]()
    if not isinstance(given, Iterable):
        raise ConfigurationError(f"case {case.name}: signals: {given!r:.100} is not a list of signals")
    for each in given:
        if not isinstance(each, BaseSignal):
            raise ConfigurationError(f"case {case.name}: signals: {each!r:.100} is not a signal")
        if each.name in by_name:
            raise _ambiguous(case, each.name, each)
        by_name[each.name] = each
    attributes, names = set[str](), set[str]()
    declared = declared_signals(cls, case.name, by_name)
    own = {each.name for each in declared.values()}
    others = ((name, each) for name, each in by_name.items() if name not in own)
    for attribute, template in (*declared.items(), *others):
        signal = by_name.get(template.name, template)
        check_signal(attribute, signal, cls, case.name, base)
        if signal.name in names or attribute in attributes:
            raise _ambiguous(case, attribute, signal)
        names.add(signal.name)
        attributes.add(attribute)
        with _described(f"case {case.name}: signal {attribute}: {type(signal).__name__} cannot be copied"):
            copy = signal.clone(case=case, index=len(names))
            if vars(copy).get("_case") is not case:
                raise TypeError("it ignores the argument case")
        if template.value_type is not Any:
            copy.annotate(template.value_type)
        copy.check_declaration()
        yield attribute, copy


def _ambiguous(case: DeclaredCase, attribute: str, signal: BaseSignal[Any]) -> ConfigurationError:
    return ConfigurationError(f"case {case.name}: signal {attribute}: another signal is named {signal.name}")


@contextmanager
def _described(what: str) -> Iterator[None]:
    """Describe what the class of a signal raises."""
    try:
        yield
    except Exception as exc:
        raise ConfigurationError(
            f"{what}: {type_and_message(exc)}; its __init__ must pass its arguments to super().__init__(), and other "
            "arguments that are required need an assignment: price = Priced(currency='EUR')"
        ) from exc


def _application_classes(cls: type) -> list[type]:
    """Return ``cls`` and its bases without those of LiveCheck, which have no signals but slow annotations."""
    return [one for one in cls.__mro__ if not one.__module__.startswith(_PACKAGE)]


def _assigned(cls: type) -> Iterator[tuple[str, BaseSignal[Any]]]:
    for name, value in vars(cls).items():
        if isinstance(value, BaseSignal):
            yield name, value


def _annotated(cls: type, case_name: str, given: Container[str]) -> Iterator[tuple[str, BaseSignal[Any]]]:
    for name, annotation in annotations_of(cls).items():
        hint = _evaluate(cls, name, annotation, {}) if isinstance(annotation, str) else annotation
        if isinstance(hint, Exception):
            if "Signal" in annotation:
                raise ConfigurationError(f"case {case_name}: signal {name}: {annotation}: {hint}") from hint
        elif _is_signal(hint):
            signal = vars(cls).get(name)
            if not isinstance(signal, BaseSignal):
                with _described(f"case {case_name}: signal {name}: {hint} cannot be made"):
                    signal = BaseSignal(name) if name in given else _signal(name, hint)
            if signal.value_type is Any:
                signal.annotate(value_type_of(_without_class_var(hint), BaseSignal))
            yield name, signal


def _signal(name: str, hint: Any) -> BaseSignal[Any]:
    kind = _without_class_var(hint)
    signal: BaseSignal[Any] = (get_origin(kind) or kind)(name=name)
    return signal


def _evaluate(cls: type, name: str, annotation: str, local_names: Mapping[str, Any]) -> Any:
    """Return the type that ``annotation`` stands for, or the exception raised by evaluating it."""
    # On its own, since get_type_hints() fails for a whole class when one annotation cannot be evaluated.
    holder = type(cls.__name__, (), {"__module__": cls.__module__, "__annotations__": {name: annotation}})
    try:
        return get_type_hints(holder, localns={**local_names, **vars(cls)}, include_extras=True)[name]
    except Exception as exc:  # noqa: BLE001 - the text is the user's, and can raise anything
        return exc


def _is_signal(hint: Any) -> bool:
    kind = _without_class_var(hint)
    origin = get_origin(kind) or kind
    return inspect.isclass(origin) and issubclass(origin, BaseSignal)


def _without_class_var(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is ClassVar and get_args(hint) else hint
