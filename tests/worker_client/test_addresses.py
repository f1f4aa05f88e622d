"""Which endpoints the guard opens and which it refuses."""

import ipaddress

import pytest

from worker_client.pipeline.addresses import is_literal, parse_endpoint, refusal


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200",
        "100.127.255.255", "127.0.0.1", "127.255.255.254", "168.63.129.16", "169.254.169.254",
        "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1",
        "198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.9", "224.0.0.1",
        "239.255.255.250", "240.0.0.1", "255.255.255.255",
        "::", "::1", "fe80::1", "fe80::1%eth0", "febf::1", "fec0::1", "fc00::1", "fd00:ec2::254",
        "ff02::1", "ff0e::1", "2001:db8::1", "3fff::1", "2001:2::1", "100::1", "5f00::1",
        "64:ff9b:1::1", "4000::1",
        "::ffff:10.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:7f00:1",
        "::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::", "2002:a00:1::1", "2002:c0a8:101::1",
        "2001:0:4136:e378:8000:63bf:f5ff:fffe",  # Teredo for 10.0.0.1
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",  # Teredo, whatever client it names
    ],
)  # fmt: skip
def test_an_address_that_is_not_the_public_web_is_refused(address):
    assert refusal(address, 80) is not None
    assert refusal(address, 443) is not None


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1", "8.8.8.8", "93.184.216.34", "100.63.255.255", "100.128.0.0", "126.255.255.255",
        "128.0.0.1", "169.253.255.255", "172.15.255.255", "172.32.0.0", "192.167.255.255",
        "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255",
        "2606:4700:4700::1111", "2a00:1450:4001:81b::200e", "::ffff:8.8.8.8", "64:ff9b::808:808",
    ],
)  # fmt: skip
def test_a_public_address_is_opened_on_the_web_ports(address):
    assert refusal(address, 80) is None
    assert refusal(address, 443) is None


@pytest.mark.parametrize("port", [0, 1, 22, 25, 79, 81, 442, 444, 6379, 8080, 8443, 65535])
def test_no_other_port_is_opened(port):
    assert refusal("8.8.8.8", port) is not None


@pytest.mark.parametrize(
    "text", ["", "localhost", "example.com", "1.2.3", "0x7f000001", "1.2.3.4.5"]
)
def test_what_is_no_numeric_address_is_refused(text):
    assert refusal(text, 80) is not None


def test_every_first_and_last_address_of_the_private_ranges_is_refused():
    for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"):
        parsed = ipaddress.ip_network(network)
        assert refusal(str(parsed[0]), 80)
        assert refusal(str(parsed[-1]), 80)


def test_the_reason_names_the_range():
    assert refusal("192.168.1.1", 80) == "private"
    assert refusal("::ffff:127.0.0.1", 80) == "loopback inside IPv6"
    assert refusal("8.8.8.8", 22) == "port 22 is not a web port"


def test_a_literal_host_is_told_from_a_name():
    assert is_literal("1.2.3.4")
    assert is_literal("[::1]")
    assert not is_literal("example.com")


def test_an_endpoint_is_read_as_a_person_writes_it():
    assert parse_endpoint("127.0.0.1:8123") == ("127.0.0.1", 8123)
    assert parse_endpoint("[::1]:80") == ("::1", 80)
    assert parse_endpoint("localhost:80") == ("127.0.0.1", 80)


@pytest.mark.parametrize("text", ["", "127.0.0.1", "127.0.0.1:x", "example.com:80", "127.0.0.1:0"])
def test_what_is_no_endpoint_is_refused_in_a_sentence(text):
    with pytest.raises(ValueError, match="is not ADDRESS:PORT"):
        parse_endpoint(text)
