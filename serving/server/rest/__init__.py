"""The embedded server's HTTP: TensorFlow Serving's REST API, and its page for Prometheus."""
