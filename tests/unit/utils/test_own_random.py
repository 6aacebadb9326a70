"""Random numbers of our own."""

from __future__ import annotations

import os
import random

from livecheck_celery.models import new_send_id
from livecheck_celery.utils.jitter import around
from livecheck_celery.utils.own_random import OWN


def test_the_sequence_of_a_host_is_its_own() -> None:
    before = random.getstate()
    new_send_id()
    around(1.0)
    assert random.getstate() == before


def test_child_has_another_sequence_than_its_parent() -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:  # the child
        os.write(writer, str(OWN.getrandbits(64)).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reader, 100) != str(OWN.getrandbits(64)).encode()
    os.close(reader)
    os.close(writer)
