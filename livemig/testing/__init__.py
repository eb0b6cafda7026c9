"""What projects that test against livemig need: a mock libvirt over a simulated fleet, and a virtual clock."""
