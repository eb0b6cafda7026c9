"""livemig-lab: real libvirt hosts with real guests on one Linux machine."""
