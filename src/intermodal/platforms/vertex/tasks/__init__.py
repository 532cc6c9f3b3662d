"""Tasks of the deploy step that only Vertex AI needs: their contracts and, for the image `serve`, their logic."""
