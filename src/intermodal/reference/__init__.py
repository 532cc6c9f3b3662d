"""The generated part of the documentation: docs/reference/, written from contracts, types, commands and rules."""
