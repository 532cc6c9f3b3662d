"""A Kubernetes cluster: the connection to it, and calls with a time limit each and the server's refusal in words."""
