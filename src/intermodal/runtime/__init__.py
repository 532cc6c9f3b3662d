"""What every task imports in its image: outputs written whole, errors, files, secrets. Knows no kfp."""
