"""Everything LiveCheck keeps in Redis; no other package talks to Redis."""

from livecheck_celery.store.executions import Claim, Recovery, Verdict
from livecheck_celery.store.statistics import Statistics
from livecheck_celery.store.store import Batch, Store

__all__ = ["Batch", "Claim", "Recovery", "Statistics", "Store", "Verdict"]
