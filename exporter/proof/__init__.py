"""The proof: a written SavedModel against a reference that shares no code with families/, tokenizers/ and graph/."""
