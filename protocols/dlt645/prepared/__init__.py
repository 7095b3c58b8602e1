"""A read of a freeze with its request and the head of its reply known in advance."""
