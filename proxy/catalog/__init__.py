"""The upstream's catalog: what its tables, views, functions and types are, and what touching one of them reaches.

``model``          one frozen snapshot: all that other rooms see
``catalogs``       snapshots by database, kept fresh; the only place that knows of time
``introspection``  one connection; ``queries`` is the SQL that it sends
``assembly``       rows -> snapshot; with ``types`` (how a type is spelled), ``uses`` (what an object uses directly),
                   ``attachments`` (what hangs on a relation), ``reach`` (closed over all of that)
"""
