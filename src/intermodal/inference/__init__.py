"""SavedModels and the rows that they take."""
