"""What a server is called, whose it is, how large: from Nova's metadata element, from livemig's own, and from the domain alone."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livemig.facts import Address, Flavor, Presence, ServerFacts
from livemig.hypervisor.domain_xml import describe

UUID = "5b2d7b1e-6d8f-4b5e-9a3c-2f1f0a4c6d7e"

DOMAIN = """
<domain type='kvm' id='3'>
  <name>instance-00000001</name>
  <uuid>5b2d7b1e-6d8f-4b5e-9a3c-2f1f0a4c6d7e</uuid>
  {texts}
  <metadata>{metadata}</metadata>
  <memory unit='KiB'>4194304</memory>
  <vcpu placement='static' current='2'>4</vcpu>
  <devices>{devices}</devices>
</domain>
"""

# As Nova writes it: 1.0 until Victoria, 1.1 with ports since.
NOVA = """
<nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/{version}">
  <nova:package version="31.0.0"/>
  <nova:name>db server</nova:name>
  <nova:creationTime>2026-11-24 10:00:00</nova:creationTime>
  <nova:flavor name="m1.small"{flavor_id}>
    <nova:memory>2048</nova:memory>
    <nova:disk>20</nova:disk>
    <nova:swap>512</nova:swap>
    <nova:ephemeral>5</nova:ephemeral>
    <nova:vcpus>1</nova:vcpus>
    {specs}
  </nova:flavor>
  <nova:owner>
    <nova:user uuid="45b1a1b5b34b4b12b6c5a4f5b3d3e1aa">alice</nova:user>
    <nova:project uuid="9f2d4c0e8d5a4f6fa2f1b6a1d0c4e2bb">shop</nova:project>
  </nova:owner>
  <nova:root type="image" uuid="7d1f8a3c-4e5b-4c6d-8e9f-0a1b2c3d4e5f"/>
  <nova:ports>
    <nova:port uuid="11111111-2222-4333-8444-555555555555">
      <nova:ip type="fixed" address="10.0.0.5" ipVersion="4"/>
      <nova:ip type="fixed" address="fd00::5" ipVersion="6"/>
    </nova:port>
  </nova:ports>
</nova:instance>
"""
SPECS = '<nova:extraSpecs><nova:extraSpec name="hw:cpu_policy">dedicated</nova:extraSpec></nova:extraSpecs>'
OWN = """
<livemig:server xmlns:livemig="urn:livemig:server:1">{}</livemig:server>
"""


def described(metadata: str = "", texts: str = "", devices: str = "", presence: Presence = Presence.RUNNING) -> ServerFacts:
    return describe(UUID, presence, DOMAIN.format(metadata=metadata, texts=texts, devices=devices)).facts


def nova(version: str = "1.1", flavor_id: str = "", specs: str = "") -> str:
    return NOVA.format(version=version, flavor_id=flavor_id, specs=specs)


def test_a_domain_that_says_nothing() -> None:
    assert described() == ServerFacts(UUID, "instance-00000001", Presence.RUNNING, 4096, 2, "instance-00000001")


def test_title_and_description_stand_in() -> None:
    found = described(texts="<title>Web &amp; more</title><description>of ours</description>")
    assert (found.name, found.description, found.instance_name) == ("Web & more", "of ours", "instance-00000001")


PAGE = Path(__file__).parents[2] / "docs" / "metadata.md"


def test_the_example_of_the_page_as_virsh_would_set_it() -> None:
    example = PAGE.read_text(encoding="utf-8").split("```xml\n")[1].split("```")[0]
    found = described(example.replace("<server>", "<server xmlns='urn:livemig:server:1'>"))
    assert (found.name, found.description, found.created_at) == ("shop database", "moved here from the old cluster", datetime(2026, 11, 24, 10))
    assert (found.user_id, found.project_id) == ("45b1a1b5b34b4b12b6c5a4f5b3d3e1aa", "9f2d4c0e8d5a4f6fa2f1b6a1d0c4e2bb")
    assert found.flavor == Flavor("2", "m1.small", 2048, 1, disk_gib=20, extra_specs={"hw:cpu_policy": "dedicated"})
    assert found.user_metadata == {"role": "database"}
    assert found.addresses == (Address("private", "10.0.0.5", 4, "52:54:00:00:00:01"),)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_novas_element(version: str) -> None:
    found = described(nova(version), texts="<title>not this</title><description>of ours</description>")
    assert (found.name, found.description) == ("db server", "of ours")
    assert (found.user_id, found.project_id) == ("45b1a1b5b34b4b12b6c5a4f5b3d3e1aa", "9f2d4c0e8d5a4f6fa2f1b6a1d0c4e2bb")
    assert found.flavor == Flavor("m1.small", "m1.small", 2048, 1, disk_gib=20, ephemeral_gib=5, swap_mib=512)
    assert found.created_at == datetime(2026, 11, 24, 10)
    assert (found.memory_mib, found.vcpus) == (4096, 2), "what the domain has, not what its flavor says"


def test_what_newer_novas_say_of_a_flavor() -> None:
    flavor = described(nova(flavor_id=' id="42"', specs=SPECS)).flavor
    assert flavor is not None and (flavor.id, flavor.name, flavor.extra_specs) == ("42", "m1.small", {"hw:cpu_policy": "dedicated"})


# Addresses, and the interface that a port is

PORT = "11111111-2222-4333-8444-555555555555"
BRIDGED = "<interface type='bridge'><mac address='FA:16:3E:00:00:01'/><source bridge='br-int'/><target dev='{}'/>{}</interface>"
NETWORK = "<interface type='network'><mac address='fa:16:3e:00:00:02'/><source network='lab' bridge='virbr1'/><target dev='vnet7'/></interface>"
OVS = f"<virtualport type='openvswitch'><parameters interfaceid='{PORT}'/></virtualport>"
PLACES: dict[str, tuple[str, str, str]] = {
    "by its id in Open vSwitch": (NETWORK + BRIDGED.format("vnet1", OVS), "br-int", "fa:16:3e:00:00:01"),
    "by its tap device": (NETWORK + BRIDGED.format(f"tap{PORT[:11]}", ""), "br-int", "fa:16:3e:00:00:01"),
    "by its place": (NETWORK, "lab", "fa:16:3e:00:00:02"),
    "not at all": (NETWORK + BRIDGED.format("vnet1", ""), "default", ""),
    "without interfaces": ("", "default", ""),
    "on a device": ("<interface type='direct'><source dev='eth0'/></interface>", "eth0", ""),
    "on nothing": ("<interface type='user'/>", "default", ""),
}


@pytest.mark.parametrize("place", PLACES)
def test_the_interface_of_a_port(place: str) -> None:
    devices, network, mac = PLACES[place]
    assert described(nova(), devices=devices).addresses == (Address(network, "10.0.0.5", 4, mac), Address(network, "fd00::5", 6, mac))


def test_ports_of_our_own() -> None:
    ports = """
      <livemig:ports>
        <livemig:port mac='fa:16:3e:00:00:02' network='private'><livemig:ip address='10.1.0.2'/></livemig:port>
        <livemig:port mac='FA:16:3E:00:00:09'><livemig:ip address='10.1.0.9'/><livemig:ip address='nonsense'/><livemig:ip/></livemig:port>
      </livemig:ports>"""
    found = described(OWN.format(ports), devices=NETWORK).addresses
    assert found == (Address("private", "10.1.0.2", 4, "fa:16:3e:00:00:02"), Address("default", "10.1.0.9", 4, "fa:16:3e:00:00:09"))


def test_our_own_element_wins_fact_by_fact() -> None:
    own = """
      <livemig:name>ours</livemig:name>
      <livemig:description>said here</livemig:description>
      <livemig:creationTime>2026-01-02T03:04:05+01:00</livemig:creationTime>
      <livemig:owner><livemig:project uuid='p'/></livemig:owner>
      <livemig:metadata><livemig:item key='role'>db</livemig:item><livemig:item key='empty'/><livemig:item>no key</livemig:item></livemig:metadata>
    """
    found = described(OWN.format(own) + nova(), texts="<description>not this</description>")
    assert (found.name, found.description, found.project_id, found.user_id) == ("ours", "said here", "p", "45b1a1b5b34b4b12b6c5a4f5b3d3e1aa")
    assert found.user_metadata == {"role": "db", "empty": ""}
    assert found.created_at == datetime(2026, 1, 2, 2, 4, 5)
    assert found.flavor is not None and found.flavor.name == "m1.small"
    assert len(found.addresses) == 2


def test_a_flavor_that_gives_only_its_name_has_the_domains_sizes() -> None:
    assert described(OWN.format("<livemig:flavor name='tiny' id='7'/>")).flavor == Flavor("7", "tiny", 4096, 2)


def test_children_need_not_repeat_the_namespace() -> None:
    assert described("<server xmlns='urn:livemig:server:1'><name>a</name></server>").name == "a"
    assert described("<m:server xmlns:m='urn:livemig:server:1'><name>b</name></m:server>").name == "b"


MALFORMED: dict[str, tuple[str, str, object]] = {
    "no number": ("<livemig:flavor name='f'><livemig:disk>many</livemig:disk></livemig:flavor>", "flavor", Flavor("f", "f", 4096, 2)),
    "negative": ("<livemig:flavor name='f'><livemig:disk>-1</livemig:disk></livemig:flavor>", "flavor", Flavor("f", "f", 4096, 2)),
    "other digits": ("<livemig:flavor name='f'><livemig:disk>²</livemig:disk></livemig:flavor>", "flavor", Flavor("f", "f", 4096, 2)),
    "enormous": (f"<livemig:flavor name='f'><livemig:disk>{10**30}</livemig:disk></livemig:flavor>", "flavor", Flavor("f", "f", 4096, 2, 2**31 - 1)),
    "without a name": ("<livemig:flavor><livemig:disk>1</livemig:disk></livemig:flavor>", "flavor", None),
    "no time": ("<livemig:creationTime>yesterday</livemig:creationTime>", "created_at", None),
    "a time before time": ("<livemig:creationTime>0001-01-01T00:00:00+14:00</livemig:creationTime>", "created_at", None),
    "an empty name": ("<livemig:name> </livemig:name>", "name", "instance-00000001"),
    "a long name": (f"<livemig:name>{'x' * 1000}</livemig:name>", "name", "x" * 255),
    "another's metadata": ("<livemig:metadata><item xmlns='urn:other'>x</item></livemig:metadata>", "user_metadata", {}),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_malformed_counts_as_not_said(case: str) -> None:
    inside, field, value = MALFORMED[case]
    assert getattr(described(OWN.format(inside)), field) == value


WORDS = st.sampled_from(
    ["name", "flavor", "owner", "user", "memory", "disk", "metadata", "item", "ports", "port", "ip", "creationTime", "extraSpecs", "extraSpec"]
)
ATTRIBUTES = st.sampled_from(["", " name='x'", " uuid='y'", " key='k'", " address='10.0.0.1'", " address='::%eth0'", " id=''", " mac='z'"])
INSIDE = st.recursive(
    st.sampled_from(["", "1", "text", "<!-- -->", "<?pi?>", "<![CDATA[9]]>"]),
    lambda inner: st.builds(lambda word, attribute, parts: f"<{word}{attribute}>{''.join(parts)}</{word}>", WORDS, ATTRIBUTES, st.lists(inner, max_size=4)),
)


@given(INSIDE)
def test_whatever_stands_there_is_read(inside: str) -> None:
    found = described(f"<server xmlns='urn:livemig:server:1'>{inside}</server>")
    assert found.details and (found.memory_mib, found.instance_name) == (4096, "instance-00000001")


@pytest.mark.parametrize("xml", ["no xml", "<domain><memory>x</memory></domain>", "<domain>" + "<a>" * 1000 + "</a>" * 1000 + "</domain>"])
def test_a_domain_that_cannot_be_read_has_no_details(xml: str) -> None:
    assert describe(UUID, Presence.RUNNING, xml).facts == ServerFacts(UUID, "", Presence.RUNNING, details=False)


# Disks

ROOT = "<disk type='file' device='{}'><source file='{}'/><target dev='{}'/></disk>"
DRIVES: dict[str, tuple[str, dict[str, Any]]] = {
    "none": ("", {"root_device": None, "config_drive": False}),
    "the first disk is the root": (ROOT.format("disk", "/a", "sda") + ROOT.format("disk", "/b", "sdb"), {"root_device": "/dev/sda"}),
    "a CD-ROM is none": (ROOT.format("cdrom", "/a", "hda") + ROOT.format("lun", "/b", "vdb"), {"root_device": "/dev/vdb", "config_drive": False}),
    "Nova's config drive": (ROOT.format("cdrom", f"/var/lib/nova/instances/{UUID}/disk.config", "hda"), {"config_drive": True}),
    "Nova's config drive in Ceph": (
        f"<disk type='network'><source protocol='rbd' name='vms/{UUID}_disk.config'/><target dev='vdb'/></disk>",
        {"config_drive": True},
    ),
    "a config drive by its label": (ROOT.format("cdrom", "/srv/web/config-2.iso", "sda"), {"config_drive": True}),
    "an empty CD-ROM": ("<disk type='file' device='cdrom'><target dev='sda'/></disk>", {"config_drive": False}),
}


@pytest.mark.parametrize("case", DRIVES)
def test_drives(case: str) -> None:
    devices, facts = DRIVES[case]
    found = described(devices=devices)
    assert {field: getattr(found, field) for field in facts} == facts


AGENT = "<channel type='unix'><target type='virtio' name='{}' state='{}'/></channel>"


@pytest.mark.parametrize(
    ("name", "state", "there"),
    [("org.qemu.guest_agent.0", "connected", True), ("org.qemu.guest_agent.0", "disconnected", False), ("com.redhat.spice.0", "connected", False)],
)
def test_a_guest_agent(name: str, state: str, there: bool) -> None:
    xml = DOMAIN.format(metadata="", texts="", devices=AGENT.format(name, state))
    assert describe(UUID, Presence.RUNNING, xml).agent is there
