"""Clients' own test suites, run directly and through consentry, and compared test by test: ``make compat``.

``suites``   which suites there are, where their sources come from, and how each is run
``sources``  source distributions, fetched once and kept
``run``      one suite over one route: an environment, a process, and what came of each test
``report``   the comparison, as a table for people and for ``docs/compatibility.md``
"""
