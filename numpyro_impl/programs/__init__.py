"""Models, guides, encoders and their normals: what a reader of the question looks for."""
