"""Clients that bring no pytest: each a script of its own that runs them and writes what came of it as JUnit's XML."""
