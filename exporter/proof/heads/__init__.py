"""The reference's heads in numpy float64: what a signature makes of the vectors of one text's tokens."""
