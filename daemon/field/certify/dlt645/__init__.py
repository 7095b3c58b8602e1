"""The suite for DL/T 645-2007 meters."""
