"""The TensorFlow graph of an export: encoder, heads, signatures, and the SavedModel that holds them."""
