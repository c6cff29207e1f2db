"""test_init.py - cnsmod's command line: the first start, objects handed in, configuration, check."""
import json
import re
import ssl
import stat
import subprocess

import pytest

from helpers import ADMIN, DEADLINE, PASSWORD, Server, until


@pytest.fixture
def empty(tmp_path):
    return Server(tmp_path)


def run(server, *arguments, code=0):
    done = subprocess.run(server.command(*arguments), capture_output=True, text=True,
                          timeout=DEADLINE)
    assert done.returncode == code, done
    assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr
    return done


def apply_file(server, objects, **more):
    path = server.folder / "objects.json"
    path.write_text(json.dumps({"apiVersion": "v2", "objects": objects, **more}))
    return str(path)


def test_random_password_is_shown_once_and_kept_private(empty):
    done = run(empty, "init")
    user, password = re.fullmatch(r"user (\S+) password (\S+) \(also in .*\)\n", done.stdout).groups()
    assert user == "admin"
    file = empty.state / "admin-password"
    assert file.read_text() == password + "\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(empty.state.stat().st_mode) == 0o700
    empty.start()
    try:
        assert password not in empty.log.read_text()
        empty.login(user, password)
    finally:
        empty.stop()


def test_run_initialises_an_empty_state(empty):
    empty.start()
    try:
        empty.login("admin", (empty.state / "admin-password").read_text().strip())
    finally:
        empty.stop()


def test_a_second_init_is_refused(empty):
    empty.init()
    assert "initialised already" in run(empty, "init", code=1).stderr


@pytest.mark.parametrize("text", ["", "short\n", "x" * 200 + "\n"])
def test_bad_first_password(empty, text):
    path = empty.folder / "bad"
    path.write_text(text)
    assert "password" in run(empty, "init", "--password-file", str(path), code=1).stderr
    empty.init()  # nothing is half done


def password_file(server):
    path = server.folder / "password"
    path.write_text(PASSWORD)
    return path


def test_objects_are_handed_in(empty):
    secret = "an-orchestrator-knows-this"
    path = apply_file(empty, [
        {"kind": "nodes", "id": "Agent.1", "spec": {"address": "10.99.0.7", "cloud": "c1"}},
        {"kind": "settings", "id": "overlay", "spec": {"range": "10.99.0.0/24"}},
        {"kind": "users", "id": "eve", "spec": {"role": "viewer", "password": "eve's password"}},
        {"kind": "tokens", "id": "first", "spec": {"uses": 3}, "secret": secret}])
    done = run(empty, "init", "--apply", path, "--admin", ADMIN,
               "--password-file", str(password_file(empty)))
    assert re.fullmatch(r"token first cnsmo1\.[A-Za-z0-9_-]+\n", done.stdout)
    empty.start()
    try:
        admin = empty.login()
        assert admin.spec("nodes", "Agent.1")["address"] == "10.99.0.7"
        assert admin.spec("settings", "overlay")["range"] == "10.99.0.0/24"
        assert admin.spec("tokens", "first")["uses"] == 3
        assert secret not in admin.get("/api/v2/tokens/first").text
        empty.login("eve", "eve's password")
    finally:
        empty.stop()


def test_objects_may_name_each_other(empty):
    """In any order."""
    objects = [
        {"kind": "lb/services", "id": "web", "spec": {
            "node": "Agent.1", "port": 80, "backends": {"selector": {"role": "web"}}}},
        {"kind": "fw/policies", "id": "closed", "spec": {"selector": {}, "in": "drop"}},
        {"kind": "fw/rules", "id": "1", "spec": {
            "node": "Agent.1", "action": "accept", "source": "@office"}},
        {"kind": "fw/groups", "id": "office", "spec": {"addresses": ["192.0.2.0/24"]}},
        {"kind": "dns/records", "id": "1", "spec": {"name": "web", "value": "10.77.0.9"}},
        {"kind": "sdn/filters", "id": "4", "spec": {"node": "Agent.1", "protocol": "tcp"}},
        {"kind": "settings", "id": "dns", "spec": {"domain": "corp.example"}},
        {"kind": "nodes", "id": "Agent.1", "spec": {
            "services": ["vpn", "sdn", "dns", "fw", "lb"], "labels": {"role": "web"}}}]
    wrong = [*objects, {"kind": "lb/services", "id": "other", "spec": {
        "node": "Agent.1", "port": 80, "backends": {"selector": {"role": "web"}}}}]
    said = run(empty, "init", "--apply", apply_file(empty, wrong), code=1).stderr
    assert "/objects/8" in said
    run(empty, "init", "--apply", apply_file(empty, objects[:-1]), code=1)  # nothing was left
    run(empty, "init", "--apply", apply_file(empty, objects), "--admin", ADMIN,
        "--password-file", str(password_file(empty)))
    empty.start()
    try:
        admin = empty.login()
        for item in objects:
            assert admin.get(f"/api/v2/{item['kind']}/{item['id']}").status_code == 200, item
        assert admin.spec("settings", "dns")["domain"] == "corp.example"
    finally:
        empty.stop()


BAD_OBJECTS = [
    ([{"kind": "nodes", "id": "A", "spec": {"address": "1.2.3.4"}}], "/objects/0/spec/address"),
    ([{"kind": "nodes", "id": "A", "spec": {}}, {"kind": "nodes", "id": "a b", "spec": {}}],
     "/objects/1/id"),
    ([{"kind": "nothing", "id": "A", "spec": {}}], "there is no nothing"),
    ([{"kind": "settings", "id": "overlay", "spec": {"range": "10.0.0.0/99"}}],
     "/objects/0/spec/range"),
    ([{"kind": "users", "id": "eve", "spec": {"role": "viewer"}}], "/objects/0/spec/password"),
    ([{"kind": "tokens", "id": "t", "spec": {}, "secret": "short"}], "/objects/0/secret"),
    ([7], "/objects/0"),
]


@pytest.mark.parametrize("objects,words", BAD_OBJECTS, ids=[words for _, words in BAD_OBJECTS])
def test_bad_objects_leave_the_state_empty(empty, objects, words):
    assert words in run(empty, "init", "--apply", apply_file(empty, objects), code=1).stderr
    empty.init()
    empty.start()
    try:
        assert empty.login().get("/api/v2/nodes").json()["items"] == []
    finally:
        empty.stop()


def test_bad_apply_files(empty):
    bad = empty.folder / "bad.json"
    for text, words in [("{", "not valid JSON"), ("{}", "apiVersion"), ('{"a":1,"a":2}', "duplicate")]:
        bad.write_text(text)
        assert words in run(empty, "init", "--apply", str(bad), code=1).stderr
    assert "No such file" in run(empty, "init", "--apply", "/nowhere", code=1).stderr


@pytest.mark.parametrize("text,words", [
    ("api_prot = 1\n", ":1: "), ("\n# x\napi_port = 99999\n", ":3: "),
    ("api_port = 1\napi_port = 2\n", ":2: "), ("api_certificate = /x\n", "api_key"),
    ("log_level = loud\n", ":1: ")])
def test_a_wrong_configuration_is_refused_with_its_line(empty, text, words):
    empty.config.write_text(text)
    stderr = run(empty, "init", code=2).stderr
    assert words in stderr and (":" not in words or str(empty.config) in stderr)
    assert not empty.state.exists()


def test_mistyped_commands_and_flags(empty):
    assert 'no command "rnu"' in run(empty, "rnu", code=2).stderr
    run(empty, "run", "--api-prot", "1", code=2)
    assert "api_port" in run(empty, "run", "--api-port", "x", code=2).stderr
    assert "FILE" in run(empty, "restore", code=2).stderr


def test_two_servers_on_one_state(empty):
    empty.init()
    empty.start()
    try:
        assert run(empty, "check", code=1).stderr
    finally:
        empty.stop()
    assert "in order" in run(empty, "check").stdout


def test_port_taken(empty):
    empty.init()
    empty.start()
    try:
        other = Server(empty.folder / "other")
    except FileNotFoundError:
        (empty.folder / "other").mkdir()
        other = Server(empty.folder / "other")
    try:
        other.init()
        stderr = run(other, "run", "--link-address", "127.0.0.1", "--link-port",
                     str(other.link_port), "--api-address", "127.0.0.1", "--api-port",
                     str(empty.api_port), code=1).stderr
        assert str(empty.api_port) in stderr and "in use" in stderr
    finally:
        empty.stop()


def own_certificate(folder, name):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(folder / "own.key.new"),
                    "-out", str(folder / "own.pem.new"), "-days", "2", "-subj", f"/CN={name}",
                    "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    (folder / "own.key.new").rename(folder / "own.key")
    (folder / "own.pem.new").rename(folder / "own.pem")


def served_certificate(server):
    return ssl.get_server_certificate(("127.0.0.1", server.api_port))


def test_an_own_certificate_is_reloaded_without_a_restart(empty):
    own_certificate(empty.folder, "first")
    empty.config.write_text(f"api_certificate = {empty.folder}/own.pem\n"
                            f"api_key = {empty.folder}/own.key\n")
    empty.init()
    empty.root = empty.folder / "own.pem"
    empty.start()
    try:
        first = served_certificate(empty)
        assert first.strip() == (empty.folder / "own.pem").read_text().strip()
        own_certificate(empty.folder, "second")
        until("the new certificate is served", lambda: served_certificate(empty) != first)
        (empty.folder / "own.pem").write_text("not a certificate")
        until("the bad one is refused",
              lambda: "the certificate stays as it was" in empty.log.read_text())
        assert served_certificate(empty) != first
    finally:
        empty.stop()
