"""A search whose trials run elsewhere: what its component, its trials and what starts them tell each other."""
