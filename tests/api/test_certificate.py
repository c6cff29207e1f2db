"""An own certificate, and another one put in its place while the server runs."""
import hashlib
import signal
import socket
import ssl
import subprocess

import pytest

from helpers import DEADLINE, until


def make_certificate(folder, name):
    """Writes <name>.pem and <name>.key; returns the certificate's fingerprint."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem")],
        check=True, capture_output=True, timeout=DEADLINE)
    return fingerprint((folder / f"{name}.pem").read_text())


def fingerprint(pem):
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


@pytest.fixture
def own(fresh_server):
    """A server that is configured with api.pem and api.key."""
    folder = fresh_server.folder
    fresh_server.first = make_certificate(folder, "api")
    fresh_server.stop()
    fresh_server.config.write_text(f"api_certificate = {folder}/api.pem\napi_key = {folder}/api.key\n")
    fresh_server.root = folder / "api.pem"
    fresh_server.start()
    return fresh_server


def served(server):
    return fingerprint(ssl.get_server_certificate(("127.0.0.1", server.api_port),
                                                  timeout=DEADLINE))


def put(server, name):
    for ending in ("key", "pem"):
        (server.folder / f"{name}.{ending}").replace(server.folder / f"api.{ending}")
    server.process.send_signal(signal.SIGHUP)


def test_own_certificate_is_replaced(own):
    assert served(own) == own.first
    with own.connect() as before:
        second = make_certificate(own.folder, "second")
        put(own, "second")
        until("the new certificate", lambda: served(own) == second)
        before.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert before.recv(100).startswith(b"HTTP/1.1 200 ")  # who was connected stays so


def test_a_bad_certificate_changes_nothing(own):
    (own.folder / "bad.pem").write_text("-----BEGIN CERTIFICATE-----\nnonsense\n")
    (own.folder / "bad.key").write_text("")
    put(own, "bad")
    until("a complaint", lambda: "the certificate stays as it was" in own.log.read_text())
    assert served(own) == own.first


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("version,works", [("TLSv1_1", False), ("TLSv1_2", True),
                                           ("TLSv1_3", True)])
def test_tls_versions(server, version, works):
    context = ssl.create_default_context(cafile=str(server.root))
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with socket.create_connection(("127.0.0.1", server.api_port), timeout=DEADLINE) as plain:
        if works:
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as tls:
                assert tls.version() == version.replace("_", ".")
        else:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                context.wrap_socket(plain, server_hostname="127.0.0.1")
