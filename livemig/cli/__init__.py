"""The commands. They put the parts together; nothing imports them."""
