"""What an application does with its models: what each of Django's ways to write gives back and leaves behind."""

from __future__ import annotations

import asyncio
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Case, Count, F, OuterRef, Subquery, Sum, Value, When
from django.db.models.functions import Concat, Upper

from tests.writes.crm.models import Customer, Member, Order, Parcel, Profile, Tag


def create() -> Any:
    order = Order.objects.create(customer_id=1, number="N1", address="Lane number one")
    parcel = Parcel(order=order, greeting="Hello")
    parcel.save()
    Parcel(order_id=3, greeting=None).save(force_insert=True)
    Customer.objects.get(pk=2).orders.create(number="N2", address="Lane number two", total=2)
    return order.pk, parcel.pk, list(Order.objects.values_list("number", "address").filter(customer_id=1))


def save() -> Any:
    customer = Customer.objects.get(pk=1)
    customer.full_name, customer.phone = "Berta", "13700000001"
    customer.save()
    customer.plan = "full"
    customer.save(update_fields=["plan"])
    customer.refresh_from_db()
    order = Order.objects.select_related("customer").get(pk=2)
    order.address += ", back yard"
    order.save(force_update=True)
    return customer.full_name, customer.phone, customer.plan, order.customer.full_name


def save_with_a_key_that_is_there_or_not() -> Any:
    Order(pk=1, customer_id=1, number="A1", address="Lane number one").save()
    Order(pk=77, customer_id=1, number="A77", address="Lane number two").save()
    return list(Order.objects.filter(customer_id=1).order_by("pk").values_list("pk", "address"))


def save_what_is_seen_in_part() -> Any:
    """Customer 3 has withdrawn: the values of others columns than those that change are left alone."""
    customer = Customer.objects.get(pk=3)
    customer.plan = "full"
    customer.save(update_fields=["plan", "updated"])
    some = Customer.objects.only("visits").get(pk=3)
    some.visits = 9
    some.save()
    other = Order.objects.defer("address").get(pk=3)
    other.total = 9
    other.save()
    return some.get_deferred_fields() == {"full_name", "phone", "plan", "status", "updated"}


def bulk_create() -> Any:
    made = Order.objects.bulk_create(
        [Order(customer_id=1 + n % 2, number=f"B{n}", address=f"Way number {n}") for n in range(20)], batch_size=7
    )
    many = Parcel.objects.bulk_create([Parcel(order_id=1 + n % 2, greeting=f"Hello {n}") for n in range(1500)])
    with_keys = Order.objects.bulk_create(
        [Order(pk=500, customer_id=1, number="C1", address="Way 1"), Order(customer_id=2, number="C2", address="Way 2")]
    )
    return [row.pk for row in made + with_keys], len({row.pk for row in many})


def bulk_create_ignoring_conflicts() -> Any:
    orders = [Order(customer_id=1, number=f"A{n}", address=f"Way number {n}") for n in (1, 2, 30, 31)]
    Order.objects.bulk_create(orders, ignore_conflicts=True)
    return [order.pk for order in orders], Order.objects.filter(customer_id=1).count()


def bulk_create_updating_conflicts() -> Any:
    orders = [Order(customer_id=n, number=f"A{n}", address=f"Way number {n}", total=n) for n in (1, 2)]
    orders.append(Order(customer_id=1, number="A40", address="Way number 40"))
    Order.objects.bulk_create(
        orders, update_conflicts=True, unique_fields=["number"], update_fields=["address", "total"]
    )
    return list(Order.objects.order_by("number").values_list("number", "address", "total"))[:2]


def bulk_update() -> Any:
    orders = list(Order.objects.filter(pk__in=[1, 2]).order_by("pk"))
    for order in orders:
        order.address, order.total = f"Bulk number {order.pk}", order.pk
    counts = [Order.objects.bulk_update(orders, ["address", "total"], batch_size=size) for size in (None, 1)]
    everybody = list(Order.objects.all())
    for order in everybody:
        order.total = F("total") + 5
    return [*counts, Order.objects.bulk_update(everybody, ["total"])]


def get_or_create() -> Any:
    found, made = Order.objects.get_or_create(number="A2", defaults={"customer_id": 1, "address": "Elsewhere"})
    new, new_made = Order.objects.get_or_create(number="G1", defaults={"customer_id": 1, "address": "Elsewhere"})
    again, again_made = Customer.objects.get_or_create(phone="13800000002", defaults={"full_name": "Nobody"})
    return found.address, made, new.pk, new_made, again.pk, again_made


def update_or_create() -> Any:
    made = [
        Order.objects.update_or_create(number="A2", defaults={"address": "Elsewhere one", "total": 3})[1],
        Order.objects.update_or_create(
            number="U1", defaults={"address": "Elsewhere"}, create_defaults={"customer_id": 1, "address": "First"}
        )[1],
        Profile.objects.update_or_create(customer_id=2, defaults={"mail": "new@example.com"})[1],
        Order.objects.update_or_create(number="A3", defaults={"total": 3})[1],
    ]
    return made, list(Order.objects.filter(number__in=["A2", "U1"]).order_by("pk").values_list("address", flat=True))


def update() -> Any:
    orders = Order.objects.filter(customer_id=OuterRef("pk")).order_by("pk")
    return [
        Customer.objects.update(visits=F("visits") + 1),
        Customer.objects.filter(pk=1).update(full_name=Concat(F("full_name"), Value("!")), phone=None),
        Customer.objects.filter(pk=2).update(full_name=Upper("full_name"), visits=F("visits") * 2),
        Customer.objects.filter(pk__lt=9).update(plan=Case(When(pk=1, then=Value("full")), default=Value("basic"))),
        Customer.objects.filter(pk=1).update(visits=Subquery(orders.values("total")[:1])),
        Order.objects.filter(customer__plan="full").update(total=F("total") + 1, address="By a join, number 9"),
        Order.objects.filter(customer__tags__name="regular").update(total=0),
        Customer.objects.annotate(n=Count("orders")).filter(n=1, pk__in=[1, 2]).update(visits=40),
        Customer.objects.order_by("-pk").filter(pk__in=[1, 2]).update(phone=Concat(Value("1390000000"), F("pk"))),
    ]


def delete() -> Any:
    """Through one's own cascade, which Django makes of several statements."""
    return [
        Order.objects.get(pk=3).delete(),
        Order.objects.filter(customer__full_name="Anna 1").delete(),
        Parcel.objects.filter(order__customer__plan="basic", order_id=2).delete(),
        Profile.objects.get(pk=4).delete(),
    ]


def lock() -> Any:
    seen = []
    for options in ({}, {"nowait": True}, {"skip_locked": True}, {"of": ("self",)}, {"no_key": True}):
        with transaction.atomic():
            customer = Customer.objects.select_for_update(**options).get(pk=1)
            customer.visits += 1
            customer.save(update_fields=["visits"])
            seen.append(customer.visits)
    with transaction.atomic():
        orders = Order.objects.select_related("customer").select_for_update(of=("self", "customer"))
        return seen, [(order.pk, order.customer.visits) for order in orders.order_by("pk")]


def nest() -> Any:
    caught = []
    with transaction.atomic():
        Customer.objects.filter(pk=1).update(visits=50)
        try:
            with transaction.atomic():
                Order.objects.create(customer_id=1, number="A1", address="Lane number one")
        except IntegrityError as error:
            caught.append(str(error).splitlines()[0])
        with transaction.atomic(savepoint=False):
            Order.objects.create(customer_id=1, number="Z1", address="Lane number one")
        kept = transaction.savepoint()
        Order.objects.create(customer_id=1, number="Z2", address="Lane number one")
        transaction.savepoint_rollback(kept)
        transaction.on_commit(lambda: caught.append("committed"))
    with transaction.atomic():
        Customer.objects.filter(pk=1).update(visits=51)
        transaction.set_rollback(True)
    return caught, Customer.objects.get(pk=1).visits, Order.objects.filter(number__startswith="Z").count()


def relate() -> Any:
    customer, regular = Customer.objects.get(pk=1), Tag.objects.get(name="regular")
    new = Tag.objects.create(name="new")
    customer.tags.add(regular, new)
    customer.tags.set([new])
    customer.tags.create(name="third")
    customer.tags.remove(new)
    Customer.objects.get(pk=3).tags.clear()
    regular.customer_set.add(2, 3)
    moved = Order.objects.get(pk=1)
    customer.orders.add(moved, bulk=False)
    return [sorted(tag.name for tag in one.tags.all()) for one in Customer.objects.prefetch_related("tags")]


def inherit() -> Any:
    Member(customer_ptr_id=2, card="6222000011112222").save_base(raw=True)
    member = Member.objects.get(pk=2)
    member.card, member.full_name = "6222000011113333", "Carla"
    member.save()
    counts = Member.objects.filter(pk=2).update(card="6222000011114444", plan="full", full_name="Dora")
    seen = Member.objects.values_list("card", "full_name").get(pk=2)
    return counts, seen, member.delete(keep_parents=True)


def summarise() -> Any:
    """What is written is what is read, by way of joins and groups."""
    Order.objects.filter(pk=1).update(total=99)
    found = Customer.objects.filter(orders__total__gt=50).annotate(sum=Sum("orders__total"))
    parcels = Parcel.objects.filter(order__total=99).select_related("order__customer__profile")
    return list(found.values_list("full_name", "sum")), [one.order.customer.profile.mail for one in parcels]


def asynchronously() -> Any:
    async def work() -> Any:
        order = await Order.objects.acreate(customer_id=1, number="Y1", address="Lane number one")
        order.total = 8
        await order.asave()
        return await Order.objects.filter(customer_id=1).acount()

    return asyncio.run(work())


PLAYS = (
    create,
    save,
    save_with_a_key_that_is_there_or_not,
    save_what_is_seen_in_part,
    bulk_create,
    bulk_create_ignoring_conflicts,
    bulk_create_updating_conflicts,
    bulk_update,
    get_or_create,
    update_or_create,
    update,
    delete,
    lock,
    nest,
    relate,
    inherit,
    summarise,
    asynchronously,
)
