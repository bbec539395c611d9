"""A proven version, published: its folder, the files beside the graph, and models.config with its labels."""
