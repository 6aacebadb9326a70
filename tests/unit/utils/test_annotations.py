"""Annotations and signatures can be read, whatever the annotations are."""

import functools
from typing import TYPE_CHECKING

from livecheck_celery.utils.annotations import annotations_of, signature_of

if TYPE_CHECKING:
    from nowhere import Order


class Base:
    stored: int


class Derived(Base):
    sent: "Order"


def run(order: "Order", side: str = "buy") -> None: ...


@functools.wraps(run)
def wrapper(*args: object) -> None: ...


def test_annotations_are_those_of_the_class_itself() -> None:
    assert list(annotations_of(Derived)) == ["sent"]
    assert list(annotations_of(run)) == ["order", "side", "return"]


def test_signature_of_a_wrapper_is_that_of_what_it_wraps_or_its_own() -> None:
    assert list(signature_of(wrapper).parameters) == ["order", "side"]
    assert list(signature_of(wrapper, follow_wrapped=False).parameters) == ["args"]
