"""Terminals that dial in: the endpoint, the sessions of connections, the terminals behind them."""
