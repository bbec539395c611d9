"""Publication of a proven version: its folder, the files next to the graph, and models.config with its labels."""
