"""Every resource of the tests has a plugin of its own, which owns its options, fixtures and report header."""

pytest_plugins = ["tests.fix_postgres", "tests.fix_telecom", "tests.fix_tls"]
