"""The sources of automatic signals, and the index of them."""

import pytest

from livecheck_celery import Case, ConfigurationError, LiveCheck, Signal
from livecheck_celery.propagation.sources import DJANGO, REQUEST, SPAN, TASK, Source, SourceIndex, Target

STORED = Target("shop.test_order", "stored")


def index_of(kind: str, name: str) -> SourceIndex:
    return SourceIndex({STORED.case_name: {STORED.signal_name: (kind, name)}})


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
def test_route_matches_requests(route: str, asked: str, found: bool) -> None:
    assert index_of(REQUEST, route).targets(Source(REQUEST, asked)) == ([STORED] if found else [])


def test_one_source_can_have_many_targets() -> None:
    both = SourceIndex({"a": {"x": (TASK, "t"), "y": (SPAN, "t")}, "b": {"z": (TASK, "t")}})
    assert both.targets(Source(TASK, "t")) == [Target("a", "x"), Target("b", "z")]
    assert both.targets(Source(SPAN, "t")) == [Target("a", "y")]
    assert both.targets(Source(TASK, "other")) == []
    assert both.names(TASK) == {"t"}
    assert both.names(DJANGO) == set()


def test_case_describes_the_sources_of_its_signals() -> None:
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


def test_django_signal_without_import_path_is_rejected() -> None:
    with pytest.raises(ConfigurationError, match="cannot be imported"):
        Signal.from_django(object())
