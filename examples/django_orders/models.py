"""The database model."""

from django.db import models


class Order(models.Model):  # type: ignore[misc] # Django has no types
    id = models.CharField(primary_key=True, max_length=32)
    item = models.CharField(max_length=64)
    quantity = models.PositiveIntegerField()
    price = models.PositiveIntegerField()
    executed = models.BooleanField(default=False)
