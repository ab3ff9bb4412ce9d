"""What consentry costs, measured beside PgBouncer and a direct connection in the same run: ``make bench``."""
