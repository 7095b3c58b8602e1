"""The way of readings from the lines into the database. Start reading in pipeline.py."""
