import checks  # noqa: F401 - declares the cases
from pretix.wsgi import application  # noqa: F401 - for gunicorn
