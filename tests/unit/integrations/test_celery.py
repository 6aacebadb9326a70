"""`install()` on a service's Celery app."""

from __future__ import annotations

import pytest
from celery import Celery

from livecheck_celery import Case, ConfigurationError, LiveCheck
from livecheck_celery.integrations.celery import install


@pytest.fixture
def app() -> Celery:
    return Celery("orders", broker="redis://127.0.0.1:1/0", set_as_current=False)


def test_second_install_returns_the_livecheck_of_the_first(app: Celery) -> None:
    livecheck = install(app, prefix="p")
    assert install(app) is livecheck
    assert livecheck.settings.prefix == "p"


def test_livecheck_that_the_service_made_is_returned(app: Celery) -> None:
    livecheck = LiveCheck(app)
    assert install(app) is livecheck


def test_unknown_setting_is_refused(app: Celery) -> None:
    with pytest.raises(ConfigurationError, match="prefixx"):
        install(app, prefixx="p")


def test_beat_entries_are_added_only_with_a_case(app: Celery) -> None:
    livecheck = install(app)
    assert app.conf.beat_schedule == {}
    livecheck.add_case(Case, name="c", frequency=30.0)
    livecheck.schedule_all()
    assert set(app.conf.beat_schedule) == {"livecheck:recover", "livecheck:stalled", "livecheck:c:frequency"}
