"""The TensorFlow graph of an export: encoder, heads, signatures, and their SavedModel."""
