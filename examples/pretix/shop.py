"""Create an organizer, an event and a ticket; print the ticket's number."""

import django

django.setup()

from datetime import UTC, datetime, timedelta  # noqa: E402

from django_scopes import scopes_disabled  # noqa: E402
from pretix.base.models import Event, Organizer  # noqa: E402

with scopes_disabled():
    organizer = Organizer.objects.create(name="Organizer", slug="org")
    event = Event.objects.create(
        organizer=organizer,
        name="Concert",
        slug="concert",
        date_from=datetime.now(UTC) + timedelta(days=30),
        currency="EUR",
        live=True,
        plugins="",
    )
    item = event.items.create(name="Ticket", default_price=10, active=True)
    quota = event.quotas.create(name="all", size=1000)
    quota.items.add(item)
    print(item.pk)  # noqa: T201 - run.sh reads it
