"""livemig: Nova's live-migration API for plain libvirt/KVM hosts."""
