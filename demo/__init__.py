"""A miniature web on loopback, and the whole project run over it with one command."""
