"""Reports of workers in Prometheus' text format. Each sample of a worker bears its number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from proxy.audit.tally import BUCKETS
from proxy.cli.report import Report

KIND: Final = "text/plain; version=0.0.4; charset=utf-8"

Family = CounterMetricFamily | GaugeMetricFamily
Samples = Iterable[tuple[tuple[str, ...], float]]
Reading = tuple[str, tuple[str, ...], Callable[[Report], Samples]]


def _one(read: Callable[[Report], float]) -> Callable[[Report], Samples]:
    return lambda report: [((), read(report))]


def _each(read: Callable[[Report], Mapping[str, float]]) -> Callable[[Report], Samples]:
    return lambda report: [((name,), value) for name, value in sorted(read(report).items())]


def _states(report: Report) -> Mapping[str, float]:
    counts = dict.fromkeys(("starting", "active", "idle", "idle in transaction", "ending"), 0)
    for session in report.sessions:
        counts[session.state] += 1
    return counts


def _verdicts(report: Report) -> Mapping[str, float]:
    return dict.fromkeys(("pass", "allow", "mask", "reject"), 0) | report.tally.verdicts


COUNTERS: Final[dict[str, Reading]] = {
    "consentry_connections": ("Clients that connected.", (), _one(lambda r: r.served.connections)),
    "consentry_connections_turned_away": (
        "Clients that were refused because there were as many as there may be.",
        (),
        _one(lambda r: r.served.turned_away),
    ),
    "consentry_cancel_requests": ("Cancel requests that were handed on.", (), _one(lambda r: r.served.cancels)),
    "consentry_upstream_failures": (
        "Connections to the upstream that could not be made.",
        (),
        _one(lambda r: r.served.upstream_failures),
    ),
    "consentry_faults": ("Errors that should not have been; see the log.", (), _one(lambda r: r.served.faults)),
    "consentry_statements": ("Statements that were decided.", ("verdict",), _each(_verdicts)),
    "consentry_refusals": ("Statements that were refused.", ("sqlstate",), _each(lambda r: r.tally.refusals)),
    "consentry_statement_errors": (
        "Statements that ended with an error, by class of SQLSTATE.",
        ("class",),
        _each(lambda r: r.tally.errors),
    ),
    "consentry_rows": ("Rows that statements returned or touched.", (), _one(lambda r: r.tally.rows)),
    "consentry_conflicts": (
        "Conflicts with constraints of tables that the session does not see whole.",
        ("limit",),
        _each(lambda r: r.tally.conflicts),
    ),
    "consentry_alarms": ("Contradictions that a witness found.", ("witness",), _each(lambda r: r.tally.alarms)),
    "consentry_audit_events": ("Events that were written.", ("event",), _each(lambda r: r.tally.events)),
    "consentry_audit_failures": ("Events that could not be written.", (), _one(lambda r: r.tally.failures)),
    "consentry_cpu_seconds": ("CPU time of the process.", (), _one(lambda r: r.cpu_seconds)),
}
"""By name without ``_total``: what it says, its labels beside ``worker``, its samples."""

GAUGES: Final[dict[str, Reading]] = {
    "consentry_sessions": ("Clients that are connected.", ("state",), _each(_states)),
    "consentry_accepting": ("Whether new clients are served.", (), _one(lambda r: r.accepting)),
    "consentry_audit_failing": ("Whether the last event could not be written.", (), _one(lambda r: r.tally.failing)),
    "consentry_policy_info": (
        "The policies in force; always 1.",
        ("database", "name", "digest"),
        lambda r: [((seen.database, seen.name, seen.digest), 1) for seen in r.policies],
    ),
    "consentry_policy_since_seconds": ("When they came into force, since 1970.", (), _one(lambda r: r.since)),
    "consentry_catalog_age_seconds": (
        "Since the catalog of a database was last confirmed.",
        ("database",),
        _each(lambda r: r.catalogs),
    ),
    "consentry_start_seconds": ("When the process started, since 1970.", (), _one(lambda r: r.started)),
    "consentry_resident_bytes": ("Memory of the process.", (), _one(lambda r: r.resident_bytes)),
}

DURATION: Final = "consentry_statement_seconds"
WORKERS_UP: Final = "consentry_workers_up"
RESTARTS: Final = "consentry_worker_restarts"


def exposition(reports: Iterable[Report], restarts: int) -> str:
    """The metrics of all workers that answered."""
    registry = CollectorRegistry()
    registry.register(_Reports(list(reports), restarts))
    return generate_latest(registry).decode()


class _Reports(Collector):
    def __init__(self, reports: list[Report], restarts: int) -> None:
        self._reports = reports
        self._restarts = restarts

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(WORKERS_UP, "Workers that answer.", value=len(self._reports))
        yield CounterMetricFamily(RESTARTS, "Workers that were started again.", value=self._restarts)
        for name, (text, labels, read) in COUNTERS.items():
            yield self._filled(CounterMetricFamily(name, text, labels=("worker", *labels)), read)
        for name, (text, labels, read) in GAUGES.items():
            yield self._filled(GaugeMetricFamily(name, text, labels=("worker", *labels)), read)
        yield self._durations()

    def _filled(self, family: Family, read: Callable[[Report], Samples]) -> Family:
        for report in self._reports:
            samples: Samples = read(report)
            for labels, value in samples:
                family.add_metric((str(report.worker), *labels), float(value))
        return family

    def _durations(self) -> Metric:
        family = HistogramMetricFamily(DURATION, "From the decision to the end of the result.", labels=("worker",))
        for report in self._reports:
            total, buckets = 0, []
            for bound, count in zip((*map(str, BUCKETS), "+Inf"), report.tally.durations, strict=True):
                total += count
                buckets.append((bound, total))
            family.add_metric((str(report.worker),), buckets, sum_value=report.tally.seconds)
        return family
