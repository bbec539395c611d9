"""What a TensorFlow Serving release can run, and what a SavedModel contains. No TensorFlow is needed."""
