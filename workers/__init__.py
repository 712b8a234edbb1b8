"""The hands: data, and every use of Ray."""
