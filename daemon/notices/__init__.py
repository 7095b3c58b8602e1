"""What customers are told of their supply: which notice is due, and why it is dark. Pure."""
