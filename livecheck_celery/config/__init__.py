"""Settings: their names, defaults, ranges and sources.

A setting is looked up as argument > class attribute > Celery configuration (``livecheck_<name>``) > environment
(``LIVECHECK_<NAME>``) > default; class attributes apply to cases only.
"""

from livecheck_celery.config.cases import OVERRIDABLE, CaseOptions, CaseSettings, UrlOptions, UrlSettings
from livecheck_celery.config.options import NOT_GIVEN, NotGiven
from livecheck_celery.config.resolving import DEFAULT_URL, from_conf, from_environ, resolve_settings
from livecheck_celery.config.settings import MAX_HOP_AGE, Settings

__all__ = [
    "DEFAULT_URL",
    "MAX_HOP_AGE",
    "NOT_GIVEN",
    "OVERRIDABLE",
    "CaseOptions",
    "CaseSettings",
    "NotGiven",
    "Settings",
    "UrlOptions",
    "UrlSettings",
    "from_conf",
    "from_environ",
    "resolve_settings",
]
