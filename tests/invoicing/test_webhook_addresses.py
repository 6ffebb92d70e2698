"""Where webhooks may go: every way we know of reaching behind our own walls is refused."""

import pytest

from services.invoicing.webhook_addresses import is_public, url_fault


@pytest.mark.parametrize(
    "url",
    ["https://hooks.shop.example/in?x=1", "https://shop.example:8443/", "https://93.184.215.14/", "https://[2606:2800:21f::1]/x"],
)  # fmt: skip
def test_a_good_target(url: str) -> None:
    assert url_fault(url) is None


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("http://shop.example/", "https"),
        ("ftp://shop.example/", "https"),
        ("//shop.example/", "https"),
        ("https:///x", "host"),
        ("https://user:secret@shop.example/", "user"),
        ("https://shop.example/#x", "fragment"),
        ("https://shop.example:0/", "port"),
        ("https://shop.example:x/", "URL"),
        ("https://[::1/", "URL"),
        ("https://shop.example/ x", "ASCII"),
        ("https://shop.example/\r\nHost: x", "ASCII"),
        ("https://shöp.example/", "ASCII"),
        ("https://shop.example/" + "x" * 2_000, "at most"),
        ("https://localhost/", "public host"),
        ("https://db/", "public host"),
        ("https://printer.local/", "public host"),
        ("https://metadata.google.internal/", "public host"),
        ("https://x.localhost./", "public host"),
        ("https://2130706433/", "public host"),
        ("https://127.1/", "public host"),
        ("https://0x7f.0.0.1/", "public host"),
        ("https://127.0.0.1/", "public address"),
        ("https://10.0.0.7/", "public address"),
        ("https://169.254.169.254/latest/meta-data", "public address"),
        ("https://[::1]/", "public address"),
        ("https://[::ffff:10.0.0.1]/", "public address"),
    ],
)
def test_a_refused_target(url: str, fault: str) -> None:
    found = url_fault(url)
    assert found is not None
    assert fault in found


def test_a_developers_machine_may_send_to_itself() -> None:
    assert url_fault("http://127.0.0.1:9000/x", private_allowed=True) is None
    assert url_fault("file:///etc/passwd", private_allowed=True) is not None


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f::1", "::ffff:93.184.215.14", "64:ff9b::5db8:d70e"])
def test_a_public_address(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.1.1", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "192.0.2.1", "198.18.0.1", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1",
        "::ffff:127.0.0.1", "2002:7f00:1::", "2002:a00:1::", "64:ff9b::7f00:1", "64:ff9b:1::a00:1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "no address",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public(address: str) -> None:
    assert not is_public(address)
