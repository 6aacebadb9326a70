"""What older versions of the dependencies lack, with stand-ins for the older versions."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest
from celery.utils.dispatch import Signal
from pydantic import ConfigDict, TypeAdapter

from livecheck_celery.utils import compat


class Receiver:
    def __init__(self) -> None:
        self.received: list[str] = []

    def receive(self, word: str, **_: Any) -> None:
        self.received.append(word)


def test_same_method_of_two_objects_is_connected_twice() -> None:
    signal, one, other = Signal(providing_args={"word"}), Receiver(), Receiver()
    for receiver in (one, other, one):
        compat.connect_method(signal, receiver.receive, weak=False)
    signal.send(None, word="hello")
    assert one.received == other.received == ["hello"]


def test_messages_are_sent_one_by_one_without_batches() -> None:
    with compat.batch(SimpleNamespace()):
        pass


def test_response_of_older_urllib3_is_shut_down_by_its_socket() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, ours.makefile("rb") as file:
        compat.shut_down(SimpleNamespace(_fp=SimpleNamespace(fp=file)))
        assert file.read() == b""  # does not wait for the other side


@pytest.mark.parametrize("can_validate", [True, False])
@pytest.mark.parametrize("kind", [bytes, list[bytes], dict[str, tuple[bytes, ...]], bytes | None])
def test_bytes_are_read_as_written(kind: Any, can_validate: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, "_CAN_VALIDATE_BASE64", can_validate and compat._CAN_VALIDATE_BASE64)
    config = ConfigDict(ser_json_bytes="base64")
    if can_validate and compat._CAN_VALIDATE_BASE64:
        config["val_json_bytes"] = "base64"
    adapter = compat.with_base64_bytes(TypeAdapter(kind, config=config))
    values = {bytes: b"\x00\xff", list[bytes]: [b"\xfe"], dict[str, tuple[bytes, ...]]: {"a": (b"\xff", b"")}}
    value = values.get(kind, b"\xff")
    assert adapter.validate_json(adapter.dump_json(value)) == value


@pytest.mark.parametrize("in_place", [True, False])
def test_signal_that_replaces_its_list_of_receivers_is_found(monkeypatch: pytest.MonkeyPatch, in_place: bool) -> None:
    def clear(signal: Signal) -> None:
        if in_place:
            signal.receivers[:] = []
        else:
            signal.receivers = []

    monkeypatch.setattr(Signal, "_clear_dead_receivers", clear)
    assert compat.signal_keeps_its_list() == in_place
