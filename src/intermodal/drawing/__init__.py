"""How pages draw: charts as SVG, numbers as text, one style sheet."""
