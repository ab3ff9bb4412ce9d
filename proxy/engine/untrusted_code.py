"""Code that would keep statements on protected tables from running, for who writes the policy. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from proxy.catalog.model import Access, Catalog, Relation
from proxy.engine.protected import protect
from proxy.engine.trust import Trust
from proxy.policy.diagnostic import Severity
from proxy.policy.model import Policy
from proxy.policy.verify import Finding

_DOES = {
    Access.SELECT: "reading",
    Access.INSERT: "INSERT into",
    Access.UPDATE: "UPDATE of",
    Access.DELETE: "DELETE from",
    Access.TRUNCATE: "TRUNCATE of",
}


def untrusted_code(policy: Policy, catalog: Catalog) -> list[Finding]:
    """Triggers, defaults, domain checks, row security and views whose functions the policy does not trust, each with
    what is refused for its sake. The code is ``untrusted-code``, a warning."""
    protected, trust = protect(policy, catalog), Trust(policy, catalog)
    relations = [catalog.relations[oid] for oid in sorted(protected.classified.keys() | protected.sources)]
    found = dict.fromkeys(message for relation in relations for message in _of(relation, trust))
    return [Finding(Severity.WARNING, "untrusted-code", message) for message in found]


def _of(relation: Relation, trust: Trust) -> Iterator[str]:
    accesses: dict[str, list[Access]] = {}
    for access, reach in relation.reach.items():
        for name in trust.oids(reach.functions):
            accesses.setdefault(name, []).append(access)
    for name, running in sorted(accesses.items()):
        # What reading runs, the others run too.
        does = _DOES[Access.SELECT] if Access.SELECT in running else ", ".join(_DOES[access] for access in running)
        yield (
            f"{does} {relation.schema}.{relation.name} runs {name} and is refused until functions.trusted names that"
        )
