"""How the command of one task is run: its environment, its process, its container."""
