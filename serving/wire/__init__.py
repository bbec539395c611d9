"""TensorFlow Serving's messages, and numpy arrays to and from them."""
