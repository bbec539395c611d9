"""The proof: a written SavedModel against a reference that shares nothing with families/, tokenizers/ and graph/."""
