"""Annotations and signatures, also of code whose annotations cannot be evaluated.

Since Python 3.14 annotations are evaluated when they are read, so that names which only a type checker imports raise.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any


def annotations_of(owner: type | FunctionType) -> dict[str, Any]:
    """Return the annotations of a class itself, or of a function."""
    if sys.version_info >= (3, 14):
        from annotationlib import Format, get_annotations  # noqa: PLC0415 - new in Python 3.14

        return get_annotations(owner, format=Format.FORWARDREF)
    return inspect.get_annotations(owner)


def signature_of(function: Callable[..., Any], *, follow_wrapped: bool = True) -> inspect.Signature:
    """Return the signature of ``function``; errors as for `inspect.signature`."""
    if sys.version_info >= (3, 14):
        from annotationlib import Format  # noqa: PLC0415 - new in Python 3.14

        return inspect.signature(function, follow_wrapped=follow_wrapped, annotation_format=Format.FORWARDREF)
    return inspect.signature(function, follow_wrapped=follow_wrapped)
