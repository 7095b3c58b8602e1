"""What is true of a simulated meter, whatever it is asked."""
