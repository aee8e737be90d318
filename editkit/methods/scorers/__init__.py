"""Scorers: how much each weight reacts to unsafe content. One method a file."""
