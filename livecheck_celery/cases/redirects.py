"""Redirects of a request of a case: those that would report success for another request than the one made."""

from __future__ import annotations

from typing import Final
from urllib.parse import urljoin, urlsplit

import requests

from livecheck_celery.utils.secrets import printed_url

_FOLLOWED: Final = frozenset({"GET", "HEAD"})
#: Redirects after which method and body are sent again.
_REPEATED: Final = frozenset({307, 308})


def refusal(response: requests.Response, *, is_repeatable: bool) -> str | None:
    """Return why the redirect in ``response`` is not followed; None if it is followed, or there is none.

    A redirect of GET or HEAD without a body is followed anywhere. That of another request is followed if method and
    body are sent again, to the same host, and not from https to http.

    Args:
        response: the answer, perhaps a redirect.
        is_repeatable: whether the body of the request can be sent again.
    """
    request = response.request
    if not response.is_redirect or (request.method in _FOLLOWED and not request.body):
        return None
    redirected = f"redirected ({response.status_code})"
    try:
        target = urljoin(response.url, response.headers["location"])
        redirected = f"{redirected} to {printed_url(target)}"
    except ValueError:
        return f"{redirected} to what is not a URL"
    if response.status_code not in _REPEATED:
        how = "which would be requested by GET or without the body"
    elif urlsplit(target).hostname != urlsplit(response.url).hostname:
        how = "which is another host"
    elif response.url.startswith("https:") and not target.startswith("https:"):
        how = "which is not encrypted"
    elif not is_repeatable:
        how = "but the body cannot be sent again"
    else:
        return None
    return f"{redirected}, {how}; request that URL, or pass allow_redirects=False to accept the redirect as the answer"
