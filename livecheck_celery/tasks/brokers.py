"""One broker: the one that tests are sent to is the one that workers and beat of the app use."""

from __future__ import annotations

from livecheck_celery.errors import ConfigurationError
from livecheck_celery.tasks.protocols import Installed
from livecheck_celery.utils.broker_urls import joined, same_broker
from livecheck_celery.utils.secrets import printed_url

#: Celery's broker if none is configured.
_DEFAULT = "amqp://localhost"


def check_one_broker(livecheck: Installed) -> None:
    """Check that the app's workers consume the broker that LiveCheck sends tests to.

    A process that only sends tests can use another broker for the tasks of its app.

    Raises:
        ConfigurationError: they are two brokers; the message names both.
    """
    conf = livecheck.app.conf
    sent_to = livecheck.settings.broker_url
    urls = [joined(url or _DEFAULT) for url in (conf.broker_read_url, conf.broker_write_url)]
    if not any(same_broker(url, sent_to) for url in urls):
        raise ConfigurationError(
            f"LiveCheck: broker_url: tests are sent to {printed_url(sent_to)}, but the Celery app uses "
            f"{printed_url(urls[0])}; unset LIVECHECK_BROKER_URL or livecheck_broker_url, "
            "or give both the same broker"
        )
