from pretix.celery_app import app

from livecheck_celery import Case, LiveCheck, Signal

livecheck = LiveCheck(app)


@livecheck.case(probability=1.0)
class test_cart(Case):
    added: Signal[None] = Signal.from_task("pretix.base.services.cart.add_items_to_cart")
    answered: Signal[dict] = Signal.from_request("POST", "/{organizer}/{event}/cart/add")

    def run(self):
        assert self.answered.wait(timeout=10)["status"] in (200, 302)
        self.added.wait(timeout=10)


livecheck.trigger_on("POST", "/{organizer}/{event}/cart/add", test_cart)
