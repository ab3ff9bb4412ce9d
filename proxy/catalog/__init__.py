"""The upstream's catalog: what its tables, views, functions and types are, and what touching one of them reaches.

``model``          one frozen snapshot: all that other rooms see
``catalogs``       snapshots by database, as long as sessions use it; with ``reader`` the only places that know of time
``introspection``  one connection; ``queries`` is the SQL that it sends
``rows``           the rows that were read, and what a reading changed among them
``assembly``       rows -> snapshot, which shares with the one before what did not change; with ``columns`` (their
                   types; ``types`` is how one is spelled), ``relations``, ``uses`` (what an object uses directly),
                   ``attachments`` (what hangs on a relation), ``reach`` (closed over all of that)
``pace``           how long work in a thread lets other threads go on
"""
