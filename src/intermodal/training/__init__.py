"""What one worker of a training does, on any platform."""
