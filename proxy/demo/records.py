"""The rows of the sample database, one generator a table, as lines of COPY's text format. Pure, and seeded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import accumulate, islice
from random import Random

from proxy.demo.cast import CAST, NOTICE_VERSION, Consent, consents_of
from proxy.demo.people import Person, people

PLANS = (
    ("flex-8", "畅享套餐 8 元", 8, 1, 0),
    ("ice-59", "冰激凌套餐 59 元", 59, 20, 200),
    ("5g-129", "5G 畅享 129 元", 129, 30, 500),
    ("family-169", "全家享 169 元", 169, 60, 1000),
    ("5g-299", "5G 至尊 299 元", 299, 150, 1000),
)
PLAN_SHARES = (30, 35, 20, 10, 5)
EXTRAS = (("国内流量包", 15), ("国际漫游日包", 30), ("来电显示", 6), ("视频会员", 19), ("短信包", 5))
DELIVERIES = (("SIM 卡配送", 0), ("合约手机配送", 199), ("光猫配送", 50))
MARKETING = {"agreed": 45, "withdrew": 15, "returned": 6, "expired": 5, "outdated": 7, "never": 22}
STATES = {"active": 86, "paused": 4, "closed": 6, "ported_out": 3, "legal_hold": 1}
CALL_HISTORY_DAYS = 365
BILLED_MONTHS = 3

# How calls spread over the hours of a day in China: few at night, most before lunch and after work.
HOURS = (2, 1, 1, 1, 1, 2, 6, 18, 40, 62, 70, 66, 48, 40, 48, 56, 58, 62, 70, 72, 60, 40, 18, 6)
CLOCK = [f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}+08" for second in range(86400)]


@dataclass(frozen=True, slots=True)
class Subscriber:
    """One row of the registry."""

    id: int
    person: Person
    status: str
    plan: int
    created_at: datetime


def subscribers(random: Random, count: int, now: datetime) -> list[Subscriber]:
    """The cast first, then anybody."""
    states = random.choices(list(STATES), list(STATES.values()), k=count)
    plans = random.choices(range(len(PLANS)), PLAN_SHARES, k=count)
    found = [
        Subscriber(
            number,
            person,
            states[number - 1],
            plans[number - 1],
            now - timedelta(seconds=random.randrange(60, 3650) * 86400),
        )
        for number, person in enumerate(islice(people(random, now.date()), count), 1)
    ]
    for member, subscriber in zip(CAST, found, strict=False):
        person = replace(subscriber.person, full_name=member.full_name, email=member.email)
        created_at = now - timedelta(days=500)
        found[member.id - 1] = Subscriber(member.id, person, member.status, subscriber.plan, created_at)
    return found


def plan_lines() -> Iterator[str]:
    """code, name, monthly_fee, data_gb, minutes."""
    for plan in PLANS:
        yield _line(*plan)


def subscriber_lines(registry: Sequence[Subscriber]) -> Iterator[str]:
    """All columns of public.subscribers in their order."""
    for subscriber in registry:
        person = subscriber.person
        yield _line(
            subscriber.id,
            person.full_name,
            person.phone,
            person.id_number,
            person.birth_date,
            person.address,
            person.email,
            person.account_number,
            subscriber.status,
            PLANS[subscriber.plan][0],
            person.password_hash,
            subscriber.created_at.isoformat(),
        )


def consent_lines(random: Random, registry: Sequence[Subscriber], now: datetime) -> Iterator[str]:
    """subscriber_id, purpose, granted_at, withdrawn_at, expires_at, is_express, notice_version: a history of them."""
    cast = {member.id: member for member in CAST}
    for subscriber in registry:
        member = cast.get(subscriber.id)
        consents = consents_of(member, now) if member else _consents(random, subscriber.created_at, now)
        for consent in consents:
            yield _line(
                subscriber.id,
                consent.purpose,
                consent.granted_at.isoformat(),
                consent.withdrawn_at and consent.withdrawn_at.isoformat(),
                consent.expires_at and consent.expires_at.isoformat(),
                consent.is_express,
                consent.notice_version,
            )


def call_lines(random: Random, registry: Sequence[Subscriber], count: int, today: date) -> Iterator[str]:
    """All columns of public.calls in their order, by time. Few make most calls, and mostly to people they know."""
    numbers = [subscriber.person.phone for subscriber in registry]
    books = [random.choices(numbers, k=random.randrange(3, 12)) for _ in registry]
    homes = [f"{subscriber.person.account_number[:6]}-{random.randrange(10**4):04d}" for subscriber in registry]
    talkative = list(accumulate(random.lognormvariate(0, 1) for _ in registry))
    callers = random.choices(range(len(registry)), cum_weights=talkative, k=count)
    days = [str(today - timedelta(days=CALL_HISTORY_DAYS - day)) for day in range(CALL_HISTORY_DAYS)]
    hours = random.choices(range(24), HOURS, k=count)
    moments = sorted(
        int(random.random() * CALL_HISTORY_DAYS) * 86400 + hour * 3600 + random.randrange(3600) for hour in hours
    )
    for number, (caller, moment) in enumerate(zip(callers, moments, strict=True), 1):
        day, second = divmod(moment, 86400)
        chance = random.random()
        callee = random.choice(books[caller]) if chance < 0.8 else random.choice(numbers)
        cell = homes[caller] if chance < 0.6 else homes[int(random.random() * len(homes))]
        duration = int(random.expovariate(1 / 75)) + 1
        yield f"{number}\t{registry[caller].id}\t{callee}\t{days[day]} {CLOCK[second]}\t{duration}\t{cell}\n"


def invoice_lines(random: Random, registry: Sequence[Subscriber], today: date) -> tuple[list[str], list[str]]:
    """The lines of public.invoices and of public.invoice_lines: the last months of everybody who is billed."""
    invoices: list[str] = []
    lines: list[str] = []
    periods = [_month_start(today, back) for back in range(BILLED_MONTHS, 0, -1)]
    for subscriber in registry:
        if subscriber.status in {"closed", "ported_out"}:
            continue
        for period in periods:
            number = len(invoices) + 1
            items: list[tuple[str, int, str | None]] = [(PLANS[subscriber.plan][1], PLANS[subscriber.plan][2], None)]
            if random.random() < 0.5:
                items.append((*random.choice(EXTRAS), None))
            if random.random() < 0.08:
                items.append((*random.choice(DELIVERIES), subscriber.person.address))
            state = "paid" if period != periods[-1] else random.choice(("open", "paid", "paid", "overdue"))
            total = sum(amount for _, amount, _ in items)
            invoices.append(_line(number, subscriber.id, period, total, state))
            lines += [_line(len(lines) + index, number, *item) for index, item in enumerate(items, 1)]
    return invoices, lines


def _consents(random: Random, since: datetime, now: datetime) -> list[Consent]:
    """What somebody agreed to, and took back, since becoming a subscriber."""
    later = since + (now - since) * random.random()
    latest = later + (now - later) * random.random()
    express = random.random() < 0.85
    found = [Consent("billing", since, is_express=express)]
    if random.random() < 0.3:
        # Asked again when the notice changed; a few never answered.
        found = [replace(found[0], notice_version=NOTICE_VERSION - 1)]
        if random.random() < 0.9:
            found.append(Consent("billing", later, is_express=express))
    if random.random() < 0.8:
        found.append(Consent("support", since, is_express=express))
    marketing = Consent("marketing", later, is_express=express)
    match random.choices(list(MARKETING), list(MARKETING.values()))[0]:
        case "agreed":
            found.append(marketing)
        case "withdrew":
            found.append(replace(marketing, withdrawn_at=latest))
        case "returned":
            found += [replace(marketing, granted_at=since, withdrawn_at=later), replace(marketing, granted_at=latest)]
        case "expired":
            found.append(replace(marketing, granted_at=since, expires_at=later))
        case "outdated":
            found.append(replace(marketing, notice_version=1))
    return found


def _month_start(today: date, back: int) -> date:
    """The first day of the month `back` months before this one."""
    months = today.year * 12 + today.month - 1 - back
    return date(months // 12, months % 12 + 1, 1)


def _line(*values: object) -> str:
    """One row of COPY's text format. No value holds a tab, newline or backslash."""
    return "\t".join("\\N" if value is None else str(value) for value in values) + "\n"
