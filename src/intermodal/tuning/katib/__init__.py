"""A search by Katib: an Experiment whose trials run a task's own command in pods of their own."""
