"""Files of a host, through libvirt's storage API alone: what there is, what is free, making, copying, removing. Nothing of livemig runs there.

Whatever is made for a moment bears a mark (`livemig.hypervisor.marks`). For people its name begins with `PREFIX` and the uuid of the migration that it is for.
"""

from __future__ import annotations

from livemig.hypervisor.storage.pools import PREFIX as PREFIX
from livemig.hypervisor.storage.pools import make_directory as make_directory
from livemig.hypervisor.storage.pools import remove_directory as remove_directory
from livemig.hypervisor.storage.pools import sweep as sweep
from livemig.hypervisor.storage.pools import unknown as unknown
from livemig.hypervisor.storage.probe import same_directory as same_directory
from livemig.hypervisor.storage.streams import fill as fill
from livemig.hypervisor.storage.streams import same_content as same_content
from livemig.hypervisor.storage.users import Use as Use
from livemig.hypervisor.storage.users import used as used
from livemig.hypervisor.storage.volumes import Blank as Blank
from livemig.hypervisor.storage.volumes import look as look
from livemig.hypervisor.storage.volumes import make as make
from livemig.hypervisor.storage.volumes import remove as remove
