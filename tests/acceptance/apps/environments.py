"""One app in two environments, which differ only in their prefix."""

from __future__ import annotations

import os

from celery import Celery

from livecheck_celery import Case, LiveCheck

app = Celery("environments", broker=os.environ["SHOP_URL"], set_as_current=False)
livecheck = LiveCheck(app, recover_within=3.0)


@livecheck.case(frequency=1.0)
class test_order(Case):
    """Passes in the environment in which it was triggered."""

    def run(self, prefix: str) -> None:
        assert prefix == livecheck.settings.prefix

    def make_fake_request(self) -> None:
        with self.maybe_trigger(None, livecheck.settings.prefix):
            pass
