"""Redirects of a request of a case: those that would report success for another request than the one made."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import urljoin, urlsplit

from livecheck_celery.utils.secrets import printed_url

_FOLLOWED: Final = frozenset({"GET", "HEAD"})
#: Redirects after which method and body are sent again.
_REPEATED: Final = frozenset({307, 308})

#: Redirects that a request follows, as those of a browser.
MAX_REDIRECTS: Final = 30


class Redirect(NamedTuple):
    """An answer that redirects a request.

    Attributes:
        method: method of the request.
        url: URL of the request.
        status: status of the answer.
        location: its header.
        has_body: whether the request has a body.
    """

    method: str
    url: str
    status: int
    location: str
    has_body: bool


def refusal(redirect: Redirect, *, is_repeatable: bool, option: str) -> str | None:
    """Return why ``redirect`` is not followed; None if it is followed.

    A redirect of GET or HEAD without a body is followed anywhere. That of another request is followed if method and
    body are sent again, to the same host, and not from https to http.

    Args:
        redirect: the answer.
        is_repeatable: whether the body of the request can be sent again.
        option: argument with which the caller accepts a redirect as the answer.
    """
    if redirect.method in _FOLLOWED and not redirect.has_body:
        return None
    redirected = f"redirected ({redirect.status})"
    try:
        target = urljoin(redirect.url, redirect.location)
        redirected = f"{redirected} to {printed_url(target)}"
    except ValueError:
        return f"{redirected} to what is not a URL"
    if redirect.status not in _REPEATED:
        how = "which would be requested by GET or without the body"
    elif urlsplit(target).hostname != urlsplit(redirect.url).hostname:
        how = "which is another host"
    elif redirect.url.startswith("https:") and not target.startswith("https:"):
        how = "which is not encrypted"
    elif not is_repeatable:
        how = "but the body cannot be sent again"
    else:
        return None
    return f"{redirected}, {how}; request that URL, or pass {option} to accept the redirect as the answer"
