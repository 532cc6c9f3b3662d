"""Files in object stores, and files copied there."""
