"""Horizon in a browser, against livemig on the lab."""
