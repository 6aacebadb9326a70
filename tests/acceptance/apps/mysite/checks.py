from livecheck_celery import Case, LiveCheck, Signal, current_test
from mysite.celery import app

livecheck = LiveCheck(app)


@livecheck.case()
class test_faked(Case):
    handled: Signal[int]

    def run(self) -> None:
        assert current_test().synthetic

    def make_fake_request(self) -> None:
        with self.maybe_trigger():
            pass
