"""The state of LiveCheck in Redis; no other package imports redis."""

from livecheck_celery.store.replies import Claim, Recovery, Verdict
from livecheck_celery.store.statistics import Statistics
from livecheck_celery.store.store import Batch, Store

__all__ = ["Batch", "Claim", "Recovery", "Statistics", "Store", "Verdict"]
