"""Lets people compare answers blindly, and reports which models' answers they prefer."""
