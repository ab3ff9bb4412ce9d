"""``python -m bench``: the whole measurement, in about two minutes, on the loopback interface only."""

from bench.pgbench import main

if __name__ == "__main__":
    main()
