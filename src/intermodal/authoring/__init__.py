"""What components are made with: the decorator, the images, the catalog, the scaffold, and the entries of pipelines and platforms."""
