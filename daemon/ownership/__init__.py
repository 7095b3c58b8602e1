"""Which process may act for a site."""
