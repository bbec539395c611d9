"""Ops of TensorFlow Serving releases, and contents of SavedModels. TensorFlow is not needed."""
