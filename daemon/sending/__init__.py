"""How notices leave the house, and how receipts come back."""
