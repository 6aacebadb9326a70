"""Configuration of a LiveCheck worker and beat. Copy it, and change what you need.

With this file in the current directory, `celery worker` and `celery beat` run your cases, and so do
`celery -A livecheck_celery worker` and `celery -A livecheck_celery beat`.
"""

import os

# The broker. If it is Redis, the state of the tests is kept there too; if not, set livecheck_redis_url as well.
broker_url = (
    os.environ.get("LIVECHECK_BROKER_URL") or os.environ.get("LIVECHECK_REDIS_URL") or "redis://localhost:6379/0"
)
broker_connection_retry_on_startup = True

# livecheck_celery.worker makes a bare `celery worker` a LiveCheck worker. Add your modules with cases after it, or name
# them in the environment: LIVECHECK_CASES=shop.checks,billing.checks
imports = ("livecheck_celery.worker",)

# A waiting test holds a slot, and a thread is a cheaper slot than a process.
worker_pool = "threads"

# Set LiveCheck's own settings here as livecheck_<name>, for example livecheck_test_concurrency = 200; or in the
# environment as LIVECHECK_<NAME>, which is read for settings that are missing here.
