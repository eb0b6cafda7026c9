"""Unmodified OpenStack clients, each in a virtual environment of its own, against livemig-all."""
