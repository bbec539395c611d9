"""How fast rawbert is beside what people would use instead. Run it: ``make bench``, or ``python -m benchmarks``."""
