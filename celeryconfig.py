"""Configuration of a LiveCheck worker and beat. Copy it, and change what you need.

With this file in the current directory, `celery worker` and `celery beat` run your cases; so do
`celery -A livecheck_celery worker` and `celery -A livecheck_celery beat`.
"""

import os

# The broker. When it is Redis, the state of the tests is kept there too; otherwise set livecheck_redis_url as well.
broker_url = (
    os.environ.get("LIVECHECK_BROKER_URL") or os.environ.get("LIVECHECK_REDIS_URL") or "redis://localhost:6379/0"
)
broker_connection_retry_on_startup = True

# The first makes a bare `celery worker` a LiveCheck worker. After it come your modules with cases, unless you name
# them in the environment: LIVECHECK_CASES=shop.checks,billing.checks
imports = ("livecheck_celery.worker",)

# A waiting test holds a slot. Threads are cheap; processes are not.
worker_pool = "threads"

# Settings of LiveCheck go here too, each as livecheck_<name>, such as livecheck_test_concurrency (100 by default); or
# into the environment as LIVECHECK_<NAME>, which is asked only for what is not set here.
