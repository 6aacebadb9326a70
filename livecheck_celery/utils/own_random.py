"""Random numbers that change no state of a host's: a program that seeds the module `random` gets its own sequence."""

from __future__ import annotations

import os
from random import Random
from typing import Final

#: Not for secrets. Unlike the system's source, it never releases the interpreter lock, which a request would wait for.
OWN: Final = Random()  # noqa: S311 - see above

os.register_at_fork(after_in_child=OWN.seed)
