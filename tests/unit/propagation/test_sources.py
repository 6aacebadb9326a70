"""Which signals are resolved by what happens anyway."""

import pytest

from livecheck_celery import Case, ConfigurationError, LiveCheck, Signal
from livecheck_celery.propagation.sources import DJANGO, REQUEST, SPAN, TASK, Source, Target, Wanted

STORED = Target("shop.test_order", "stored")


def wanted(kind: str, name: str) -> Wanted:
    return Wanted({STORED.case_name: {STORED.signal_name: (kind, name)}})


@pytest.mark.parametrize(
    ("route", "asked", "found"),
    [
        ("POST /order/", "POST /order/", True),
        ("POST /order/", "GET /order/", False),
        ("POST /order/", "POST /order/1/", False),
        ("GET /order/{id}/", "GET /order/1/", True),
        ("GET /order/{id}/", "GET /order/1/2/", False),
        ("GET /order/{id}/", "GET /order//", False),
        ("GET /{a}/x.y/{b}", "GET /1/x.y/2", True),
        ("GET /{a}/x.y/{b}", "GET /1/xzy/2", False),
    ],
)
def test_a_route_is_found_by_the_request_it_takes(route: str, asked: str, found: bool) -> None:
    assert wanted(REQUEST, route).targets(Source(REQUEST, asked)) == ([STORED] if found else [])


def test_one_thing_may_resolve_many_signals() -> None:
    both = Wanted({"a": {"x": (TASK, "t"), "y": (SPAN, "t")}, "b": {"z": (TASK, "t")}})
    assert both.targets(Source(TASK, "t")) == [Target("a", "x"), Target("b", "z")]
    assert both.targets(Source(SPAN, "t")) == [Target("a", "y")]
    assert both.targets(Source(TASK, "other")) == []
    assert both.names(TASK) == {"t"}
    assert both.names(DJANGO) == set()


def test_a_case_says_what_resolves_its_signals() -> None:
    livecheck = LiveCheck(redis_url="redis://localhost/0")

    @livecheck.case(name="sourced")
    class sourced(Case):
        plain: Signal[str]
        executed: Signal[str] = Signal.from_task("orders.execute")
        answered: Signal[dict[str, object]] = Signal.from_request("post", "/order/{id}/")
        saved: Signal[dict[str, object]] = Signal.from_django("django.db.models.signals.post_save", sender="shop.Order")
        charged: Signal[dict[str, object]] = Signal.from_span("charge")

    case = livecheck.cases["sourced"]
    assert case.describe()["sources"] == {
        "executed": (TASK, "orders.execute"),
        "answered": (REQUEST, "POST /order/{id}/"),
        "saved": (DJANGO, "django.db.models.signals.post_save shop.Order"),
        "charged": (SPAN, "charge"),
    }
    assert case.signals["executed"].value_type is str
    assert [signal.index for signal in case.signals.values()] == [1, 2, 3, 4, 5]


def test_a_django_signal_that_no_module_has_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="cannot be imported"):
        Signal.from_django(object())
