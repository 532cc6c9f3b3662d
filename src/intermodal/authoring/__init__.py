"""What components are made with: the decorator, the images, the catalog, the scaffold, the reference."""
