"""Data sets of real text for fine-tuning, and its quality and speed."""
