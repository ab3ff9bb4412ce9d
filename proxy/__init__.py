"""consentry: a PostgreSQL proxy that keeps personal information within what people agreed to.

How a statement travels
-----------------------

::

    client ──bytes──► server.link ──► wire.client ──message──► session ──text──► engine ──► verdict
                                                                  │                │
                                                         audit ◄──┤                ├─ sql     facts of the text
                                                     (statement)  │                ├─ policy  a decision on each column
                                                                  ▼                ├─ masks   decisions as SQL
    upstream ◄──bytes── server.link ◄── wire.upstream ◄── edited message           └─ catalog.model  what names mean
        │
        └──bytes──► wire.backend (boundaries only) ──► session (replies, effects, errors) ──bytes──► client
                                                                  └──► audit (result)

Data goes one way: bytes, message, facts, decision, edits, bytes. The analyser states facts, the policy decides, the
engine edits, the server obeys; no room does another's work.

The rooms
---------

=================  ==================================================================================  =========
``errors``         refusals and protocol errors, each with its SQLSTATE                                pure
``verdict``        the contract between engine, session and audit: Context, Effect, Verdict            pure
``settings``       the settings that decisions depend on, with guc.c's transaction semantics           pure
``copying``        how the rows of a COPY FROM STDIN are checked: a part of that contract              pure
``journal``        how the session tells the audit what happens                                        pure
``wire``           bytes <-> messages of protocol 3                                                    pure
``session``        one client's protocol state: startup, transaction, statements, replies              pure
``sql``            text -> facts -> edits -> text; the only importer of sqlglot and postgast           pure
``catalog``        the upstream's tables, views, functions: ``model`` is pure, the rest reads it       asyncpg
``policy``         YAML -> Policy with positions; decide(); packs                                      pure, but files
``masks``          a mask as SQL that cannot raise, and the types it fits                              pure
``engine``         authorize(text, context) -> Verdict; the closed world; secured relations; cache     pure
``audit``          events, hash chain, sinks                                                           files
``server``         every socket: accept, relay, upstream, cancel, drain                                asyncio
``cli``            one file a command                                                                  all
``demo``           embedded PostgreSQL, sample data, the tour                                          processes
=================  ==================================================================================  =========

Imports go one way: cli → server → {session, engine, audit, catalog}; session → wire; engine → {sql, policy, masks,
catalog.model}; everything may import errors, verdict, copying, settings and journal. ``make lint`` checks it.

Where something new goes
------------------------

* A mask: its SQL and the types it fits in ``masks``, its parameters in ``policy.schema``, a row in ``docs/policy.md``.
* A kind of statement: ``sql.statements`` (its family), ``sql.effects`` if it changes the session, and what may be
  reached by it in ``engine.resolve`` and ``engine.reach``.
* A form of reading a classified table: ``sql.columns`` (what it needs), ``sql.splice`` (where it stands),
  ``engine.reading`` (no longer refused), and a pair in ``tests/noninterference``.
* A form of writing: ``sql.writing`` (what it sets), ``sql.clauses`` (where that stands), ``engine.written_columns``
  and ``engine.returning`` (its check), and a case in ``tests/writes``.
* A wire message: ``wire`` (its bytes), ``session.requests`` or ``session.answers`` (what it means).
* A row condition: ``policy.model`` and ``policy.decision`` (when), ``engine.conditions`` (as SQL).
"""
