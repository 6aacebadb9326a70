"""Signatures of the message options in records, which name callbacks and queues: a writer of Redis must not."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Final

from livecheck_celery.models import TestExecution
from livecheck_celery.store.database import Database
from livecheck_celery.utils.signing import Signatures

_SALT: Final = "livecheck-celery.message-options"


class SignedOptions:
    """Signs the message options of executions, and verifies those of records; without a key, it does neither."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._signatures = Signatures(database.settings.secret_key, _SALT)

    def signed(self, test: TestExecution) -> TestExecution:
        """Return ``test`` as it is stored: with a signature before its options."""
        if test.message_options is None or not self._signatures:
            return test
        signature = self._signatures.sign(self._text(test, test.message_options))
        return replace(test, message_options=f"{signature} {test.message_options}")

    def verified(self, test: TestExecution, *, is_sent: bool) -> TestExecution:
        """Return a ``test`` that was stored, without its signature, and without options that no key has signed.

        Args:
            test: the execution, as its record has it.
            is_sent: whether its message will be sent: not with the options of an expired test, which somebody may have
                written back.
        """
        stored = test.message_options
        if stored is None:
            return test
        signature, _, options = ("", "", stored) if stored.startswith("{") else stored.partition(" ")
        if self._signatures and (reason := self._refusal(test, signature, options, is_sent=is_sent)):
            key = self._database.keys.test(test.case_name, test.id)
            self._database.unreadable.skip(key, f"its message options are {reason}", field="message_options")
            return replace(test, message_options=None)
        return replace(test, message_options=options)

    def _refusal(self, test: TestExecution, signature: str, options: str, *, is_sent: bool) -> str:
        if not signature:
            return "not signed; set the same livecheck_secret_key in all services and workers"
        if not self._signatures.is_genuine(signature, self._text(test, options)):
            return "not signed with a key of this process"
        return "those of an expired test" if is_sent and test.is_expired else ""

    def _text(self, test: TestExecution, options: str) -> str:
        # With all that identifies the test, so that no options can be moved to another one.
        key = self._database.keys.test(test.case_name, test.id)
        return json.dumps([key, test.use, test.expires.isoformat(), options])
