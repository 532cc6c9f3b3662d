"""What a training says of itself when it is slow or does not fit: memory, stragglers, use of the devices."""
