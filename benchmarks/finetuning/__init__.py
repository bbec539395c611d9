"""Data sets of real text for fine-tuning, and how well and how fast it is done."""
