"""From what a user names to a submission that a platform takes."""
