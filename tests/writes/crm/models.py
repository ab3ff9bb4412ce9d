"""Customers with consents, orders, profiles: every kind of relation that Django writes to."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class Tag(models.Model):
    name = models.CharField(max_length=20, unique=True)


class Customer(models.Model):
    full_name = models.CharField(max_length=100)
    phone = models.CharField(max_length=20, null=True, unique=True)
    plan = models.CharField(max_length=20, default="basic")
    visits = models.IntegerField(default=0)
    status = models.CharField(max_length=20, default="active")
    updated = models.DateTimeField(auto_now=True)
    tags = models.ManyToManyField(Tag)


class Consent(models.Model):
    customer = models.ForeignKey(Customer, models.CASCADE)
    purpose = models.CharField(max_length=20)
    granted_at = models.DateTimeField(db_default=Now())
    withdrawn_at = models.DateTimeField(null=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=["customer", "purpose"], name="one_consent"),)


class Order(models.Model):
    customer = models.ForeignKey(Customer, models.CASCADE, related_name="orders")
    number = models.CharField(max_length=20, unique=True)
    address = models.CharField(max_length=200)
    total = models.IntegerField(default=0)


class Parcel(models.Model):
    """Reaches its customer through its order."""

    order = models.ForeignKey(Order, models.CASCADE, related_name="parcels")
    greeting = models.TextField(null=True)
    weight = models.IntegerField(default=1)


class Profile(models.Model):
    customer = models.OneToOneField(Customer, models.CASCADE, primary_key=True)
    biography = models.TextField(default="")
    mail = models.EmailField(null=True)


class Member(Customer):
    """A table of its own, whose key is the customer's."""

    card = models.CharField(max_length=20)
