"""Speed of rawbert and of its alternatives. Run it with ``make bench``, or ``python -m benchmarks``."""
