"""cnsmo against a real cnsmod: what it prints, what it changes, and its exit codes."""
import json
import os
import pathlib
import pty
import re
import signal
import stat
import subprocess

import pytest

from helpers import ADMIN, BUILD, DEADLINE, PASSWORD, free_port

OK, REFUSED, USAGE, FORBIDDEN, UNREACHABLE, WAITED = range(6)
CNSMO = str(BUILD / "src" / "cli" / "cnsmo")


class Cli:
    """cnsmo with a home of its own, pointed at a server by the environment."""

    def __init__(self, home, server, **variables):
        self.home = home
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8",
            "CNSMO_URL": server.url, "CNSMO_CA": str(server.root), **variables}
        for name, value in os.environ.items():  # how sanitizers report is the caller's choice
            if name.endswith("SAN_OPTIONS"):
                self.environment[name] = value

    def run(self, *words, code=OK, stdin=""):
        done = subprocess.run([CNSMO, *words], env=self.environment, input=stdin, text=True,
                              capture_output=True, timeout=DEADLINE)
        assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def out(self, *words, **kwargs):
        return self.run(*words, **kwargs).stdout

    def err(self, *words, **kwargs):
        return self.run(*words, **kwargs).stderr

    def json(self, *words, **kwargs):
        return json.loads(self.out(*words, "-o", "json", **kwargs))

    def start(self, *words):
        return subprocess.Popen([CNSMO, *words], env=self.environment, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture
def cli(server, admin, tmp_path):
    return Cli(tmp_path, server, CNSMO_TOKEN=admin.token)


@pytest.fixture
def bare(server, tmp_path):
    """Nothing in the environment: the session is what login stores."""
    cli = Cli(tmp_path, server)
    del cli.environment["CNSMO_URL"], cli.environment["CNSMO_CA"]
    return cli


@pytest.fixture
def password_file(tmp_path):
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\n")
    return str(path)


def fingerprint(server):
    text = subprocess.run(["openssl", "x509", "-in", str(server.root), "-noout", "-fingerprint",
                           "-sha256"], check=True, capture_output=True, text=True).stdout
    return "sha256:" + text.strip().partition("=")[2]


def on_terminal(cli, *words, typed=()):
    """Runs it on a terminal of its own; types each line when its prompt is there. What was shown
    and the exit code."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(CNSMO, [CNSMO, *words], cli.environment)
    shown = b""
    lines = list(typed)
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
        if lines and shown.endswith(lines[0][0].encode()):
            os.write(terminal, lines.pop(0)[1].encode() + b"\n")
    os.close(terminal)
    return shown.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# --- logging in ----------------------------------------------------------------------------------

def test_login_by_certificate_and_logout(bare, server, password_file):
    said = bare.err("login", server.url, "--ca", str(server.root), "--password-file",
                    password_file)
    assert f"as {ADMIN} (admin)" in said
    folder = bare.home / ".config" / "cnsmo"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in ("session.json", "ca.pem"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    assert bare.json("user", "show", ADMIN)["spec"]["role"] == "admin"
    token = json.loads((folder / "session.json").read_text())["token"]
    assert server.client(token).get("/api/v2/session").status_code == 200
    bare.run("logout")
    assert list(folder.iterdir()) == []
    assert server.client(token).get("/api/v2/session").status_code == 401
    assert "not logged in" in bare.err("node", "list", code=FORBIDDEN)


def test_login_by_fingerprint(bare, server, password_file):
    right = fingerprint(server)
    wrong = right[:-2] + ("00" if right[-2:] != "00" else "11")
    words = ("login", server.url, "--password-file", password_file, "--fingerprint")
    assert "fingerprint" in bare.err(*words, wrong, code=UNREACHABLE)
    assert not (bare.home / ".config" / "cnsmo" / "session.json").exists()
    assert "hexadecimal" in bare.err(*words, "sha256:12", code=USAGE)
    bare.run(*words, right)
    assert (bare.home / ".config" / "cnsmo" / "ca.pem").read_text().startswith("-----BEGIN CERT")
    bare.run("node", "list")


def test_login_needs_trust_and_the_right_password(bare, server, password_file, tmp_path):
    assert "trusted" in bare.err("login", server.url, "--password-file", password_file,
                                 code=UNREACHABLE)
    wrong = tmp_path / "wrong"
    wrong.write_text("not the password\n")
    bare.run("login", server.url, "--ca", str(server.root), "--user", "nobody-at-all",
             "--password-file", str(wrong), code=FORBIDDEN)
    assert "--password-file" in bare.err("login", server.url, "--ca", str(server.root), code=USAGE)
    assert not (bare.home / ".config" / "cnsmo" / "session.json").exists()


def test_a_damaged_session_is_no_obstacle(bare, server, password_file):
    words = ("login", server.url, "--ca", str(server.root), "--password-file", password_file)
    bare.run(*words)
    session = bare.home / ".config" / "cnsmo" / "session.json"
    for spoil in (lambda: session.write_text("{"), lambda: session.chmod(0o644)):
        spoil()
        assert "session.json" in bare.err("node", "list", code=FORBIDDEN)
        bare.run("help")
        bare.run(*words)
        bare.run("node", "list")
    session.write_text("{")
    bare.run("logout")
    assert not session.exists()


def test_logout_is_about_the_stored_session(bare, server, password_file):
    bare.run("login", server.url, "--ca", str(server.root), "--password-file", password_file)
    token = json.loads((bare.home / ".config/cnsmo/session.json").read_text())["token"]
    bare.environment.update(CNSMO_URL="https://127.0.0.1:1", CNSMO_TOKEN="another")
    assert bare.err("logout") == ""
    assert server.client(token).get("/api/v2/session").status_code == 401
    assert "not logged in" in bare.err("logout")


def test_password_is_typed_without_echo(bare, server):
    shown, code = on_terminal(bare, "login", server.url, "--ca", str(server.root),
                              typed=[(": ", PASSWORD)])
    assert code == OK and "Logged in" in shown
    assert PASSWORD not in shown


def test_user_and_password_of_the_environment(cli, admin):
    def sessions():
        text = admin.get("/metrics").text
        return int(re.search(r"^cnsmo_sessions (\d+)$", text, re.M).group(1))

    del cli.environment["CNSMO_TOKEN"]
    cli.environment["CNSMO_PASSWORD"] = PASSWORD
    before = sessions()
    assert cli.json("user", "show", ADMIN)["id"] == ADMIN
    assert sessions() == before  # the session that it opened is closed again


def test_a_stored_session_stays_with_its_server(bare, server, password_file):
    bare.run("login", server.url, "--ca", str(server.root), "--password-file", password_file)
    assert "not logged in at https://127.0.0.2" in bare.err(
        "node", "list", "--url", server.url.replace("127.0.0.1", "127.0.0.2"), code=FORBIDDEN)


# --- exit codes ----------------------------------------------------------------------------------

def test_unreachable(cli):
    cli.environment["CNSMO_URL"] = f"https://127.0.0.1:{free_port()}"
    assert "can't be reached" in cli.err("node", "list", code=UNREACHABLE)


def test_another_authority_is_not_trusted(cli, tmp_path):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=other", "-keyout",
                    str(tmp_path / "k.pem"), "-out", str(tmp_path / "c.pem")], check=True,
                   capture_output=True)
    assert "can't be trusted" in cli.err("node", "list", "--ca", str(tmp_path / "c.pem"),
                                         code=UNREACHABLE)


def test_roles(cli, server, by_role):
    cli.environment["CNSMO_TOKEN"] = by_role["viewer"].token
    cli.run("node", "list")
    assert "needs the role" in cli.err("node", "add", "Refused.1", code=FORBIDDEN)
    cli.environment["CNSMO_TOKEN"] = "no-such-token"
    assert "cnsmo login" in cli.err("node", "list", code=FORBIDDEN)


def test_usage(cli):
    assert 'did you mean "node"?' in cli.err("noed", "list", code=USAGE)
    assert "did you mean --labels?" in cli.err("node", "set", "x", "--label", "a=b", code=USAGE)
    assert "--wait" in cli.err("node", "set", "x", "--hub", "--wait=99", code=USAGE)
    assert "nothing to set" in cli.err("node", "set", "x", code=USAGE)
    assert "table, json or jsonl" in cli.err("node", "list", "-o", "xml", code=USAGE)
    assert cli.out(code=USAGE) == ""  # help on standard error
    assert cli.out("--version") == cli.out("version") and cli.out("version").startswith("cnsmo ")


def test_the_servers_sentence_and_field(cli):
    said = cli.err("node", "add", "Field.1", "--address", "1.2.3", code=REFUSED)
    assert '"address"' in said and "(/spec/address)" in said
    assert '"Nowhere.1"' in cli.err("node", "show", "Nowhere.1", code=REFUSED)


def test_a_full_disk_is_no_success(cli):
    with open("/dev/full", "w") as full:
        done = subprocess.run([CNSMO, "help"], env=cli.environment, stdout=full,
                              stderr=subprocess.PIPE, text=True, timeout=DEADLINE)
    assert done.returncode == REFUSED and "standard output" in done.stderr


# --- objects -------------------------------------------------------------------------------------

def test_life_of_a_node(cli, admin):
    cli.run("node", "add", "Cli.1", "--labels", "tier=web,zone=a", "--cloud", "c1")
    try:
        assert admin.spec("nodes", "Cli.1")["labels"] == {"tier": "web", "zone": "a"}
        assert "Cli.1" in cli.out("node", "list", "--label", "tier=web")
        assert "Cli.1" not in cli.out("node", "list", "--label", "tier=db")
        assert "Cli.1" not in cli.out("node", "list", "--filter", "cloud=c2")
        assert [n["id"] for n in cli.json("node", "list", "--filter", "cloud=c1")] == ["Cli.1"]
        lines = cli.out("node", "list", "-o", "jsonl").splitlines()
        assert "Cli.1" in [json.loads(line)["id"] for line in lines]
        cli.run("node", "set", "Cli.1", "--hub", "--cloud", "c2")
        assert admin.spec("nodes", "Cli.1")["hub"] is True
        cli.run("node", "set", "Cli.1", "--no-hub")
        cli.run("node", "label", "Cli.1", "zone-", "rack=7")
        spec = cli.json("node", "show", "Cli.1")["spec"]
        assert spec["labels"] == {"tier": "web", "rack": "7"}
        assert (spec["hub"], spec["cloud"]) == (False, "c2")
        assert re.search(r"^spec\.labels +rack=7,tier=web$|^spec\.labels +tier=web,rack=7$",
                         cli.out("node", "show", "Cli.1"), re.M)
    finally:
        done = cli.run("node", "delete", "Cli.1", "Cli.2", code=REFUSED)
    assert "Cli.2" in done.stderr and "Cli.1" not in done.stderr
    assert admin.get("/api/v2/nodes/Cli.1").status_code == 404


def test_dry_run_changes_nothing(cli, node, admin):
    before = admin.get("/api/v2/nodes/Node.1").json()
    deltas = cli.json("node", "set", "Node.1", "--hub", "--dry-run")
    assert {d["node"] for d in deltas} == {"Node.1"}
    assert "Node.1" in cli.out("node", "set", "Node.1", "--hub", "--dry-run")
    assert admin.get("/api/v2/nodes/Node.1").json()["revision"] == before["revision"]


def test_wait(cli, node, admin):
    said = cli.err("node", "set", "Node.1", "--hub", "--wait=1", code=WAITED)
    assert "Node.1: " in said and "0 of 1" in said
    assert admin.spec("nodes", "Node.1")["hub"] is True  # it is done all the same
    cli.run("user", "set", ADMIN, "--no-disabled", "--wait")  # concerns no node


def test_token_create_prints_the_token_alone(cli, admin):
    text = cli.out("token", "create", "--uses", "3", "--expires", "2h", "--ids", "Agent.*",
                   "--description", "for the test")
    assert re.fullmatch(r"cnsmo1\.[A-Za-z0-9_-]+\n", text)
    made = [t for t in cli.json("token", "list") if t["spec"]["description"] == "for the test"][0]
    assert (made["spec"]["uses"], made["spec"]["ids"]) == (3, ["Agent.*"])
    assert "token" not in made
    shown = cli.out("token", "list")
    assert made["id"] in shown and "valid" in shown and text.strip() not in shown
    assert cli.json("token", "create")["token"].startswith("cnsmo1.")
    cli.run("token", "delete", made["id"])
    assert made["id"] not in cli.out("token", "list")


def test_users(cli, server, password_file, tmp_path):
    cli.run("user", "add", "bob", "--role", "viewer", "--password-file", password_file)
    try:
        assert "password" not in json.dumps(cli.json("user", "show", "bob")["spec"])
        server.login("bob", PASSWORD)
        other = tmp_path / "other"
        other.write_text("another password\n")
        cli.run("user", "passwd", "bob", "--password-file", str(other))
        server.login("bob", "another password")
        cli.run("user", "passwd", "bob", "--password-file", "-", stdin="a third password\n")
        server.login("bob", "a third password")
        cli.run("user", "set", "bob", "--role", "operator")
        assert cli.json("user", "show", "bob")["spec"]["role"] == "operator"
        assert "characters" in cli.err("user", "passwd", "bob", "--password-file", "-",
                                       stdin="short\n", code=REFUSED)
    finally:
        cli.run("user", "delete", "bob")


def test_what_a_schema_requires_may_be_an_argument(cli, password_file):
    cli.run("user", "add", "erin", "operator", "--password-file", password_file)
    assert cli.json("user", "show", "erin")["spec"]["role"] == "operator"
    cli.run("user", "delete", "erin")
    words = ("user", "add", "erin", "operator", "--password-file", password_file)
    assert "--role" in cli.err(*words, "--role", "viewer", code=USAGE)
    assert "too many" in cli.err(*words, "more", code=USAGE)


def test_new_users_password_is_asked_for(cli, server):
    shown, code = on_terminal(cli, "user", "add", "carol", "--role", "viewer",
                              typed=[("New password: ", "secret of carol"),
                                     ("The same again: ", "secret of carol")])
    try:
        assert code == OK and "secret of carol" not in shown
        server.login("carol", "secret of carol")
    finally:
        cli.run("user", "delete", "carol")
    shown, code = on_terminal(cli, "user", "add", "dave", "--role", "viewer",
                              typed=[("New password: ", "one thing"), ("again: ", "another")])
    assert code == USAGE and "differ" in shown


def test_api_tokens(cli):
    token = cli.out("api-token", "create", "--role", "viewer", "--description", "ci").strip()
    name = [t["id"] for t in cli.json("api-token", "list") if t["spec"]["description"] == "ci"][0]
    owner = cli.environment["CNSMO_TOKEN"]
    cli.environment["CNSMO_TOKEN"] = token
    cli.run("node", "list")
    cli.run("node", "add", "Refused.2", code=FORBIDDEN)
    cli.environment["CNSMO_TOKEN"] = owner
    cli.run("api-token", "delete", name)
    cli.environment["CNSMO_TOKEN"] = token
    cli.run("node", "list", code=FORBIDDEN)


def test_settings(cli):
    before = cli.json("settings", "show", "overlay")["spec"]["mtu"]
    assert [s["id"] for s in cli.json("settings", "show")] == ["dns", "overlay"]
    assert "spec.mtu" in cli.out("settings", "show")
    assert 'did you mean "settings show overlay"?' in cli.err("settings", "show", "overlya",
                                                              code=USAGE)
    assert cli.json("settings", "set", "overlay", "--mtu", "1300")["spec"]["mtu"] == 1300
    assert '"mtu"' in cli.err("settings", "set", "overlay", "--mtu", "9999", code=REFUSED)
    assert "whole number" in cli.err("settings", "set", "overlay", "--mtu", "x", code=USAGE)
    cli.run("settings", "set", "overlay", "--mtu", str(before))


def test_lists_of_many_pages(cli, admin):
    """More than the server gives at once; every one comes, once, and in order."""
    made = [admin.create("tokens", {"description": "many"}).json()["id"] for _ in range(1003)]
    try:
        listed = [t["id"] for t in cli.json("token", "list", "--filter", "description=many")]
        assert listed == sorted(made)
        lines = cli.out("token", "list", "--filter", "description=many", "-o", "jsonl")
        assert [json.loads(line)["id"] for line in lines.splitlines()] == listed
    finally:
        for name in made:
            admin.delete(f"/api/v2/tokens/{name}")


def test_control_characters_do_not_reach_the_terminal(cli, admin):
    evil = admin.create("tokens", {"description": "evil \u001b[31m \u009b1m"}).json()["id"]
    try:
        text = cli.out("token", "list") + cli.out("token", "show", evil)
        assert "evil" in text and "\u001b" not in text and "\u009b" not in text
    finally:
        admin.delete(f"/api/v2/tokens/{evil}")


# --- overview ------------------------------------------------------------------------------------

def test_status(cli, node, server):
    text = cli.out("status")
    assert server.url in text and "0 connected" in text
    assert re.search(r"^  Node\.1: away$", text, re.M)
    overview = cli.json("status")
    assert overview["nodes"]["connected"] == 0
    assert re.fullmatch(r"\d+\.\d+\.\d+", overview["server"]["version"])
    assert "Node.1" in [a["node"] for a in overview["attention"]]


def test_status_watch(cli, node):
    process = cli.start("status", "--watch", "-o", "jsonl")
    try:
        first, second = (json.loads(process.stdout.readline()) for _ in range(2))
        assert first["items"][0]["id"] == second["items"][0]["id"]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(DEADLINE)


def test_colours_only_on_a_terminal(cli, node):
    assert "\033" not in cli.out("node", "list")
    shown, _ = on_terminal(cli, "node", "list")
    assert "\033[31m" in shown  # away: red
    for words, variables in ((("--no-color",), {}), ((), {"NO_COLOR": "1"})):
        cli.environment.update(variables)
        shown, _ = on_terminal(cli, "node", "list", *words)
        assert "\033" not in shown and "Node.1" in shown


def test_events(cli, admin):
    admin.create("nodes", {}, "Event.1")
    admin.delete("/api/v2/nodes/Event.1")
    newest = cli.json("events", "--limit", "2")
    assert [e["spec"]["reason"] for e in newest] == ["created", "deleted"]
    assert "Event.1" in cli.out("events", "-n", "2")
    assert len(cli.json("events", "--limit", "1")) == 1
    cli.run("events", "--limit", "0", code=USAGE)


def test_events_follow(cli, admin):
    process = cli.start("events", "--follow", "-n", "1", "-o", "jsonl")
    try:
        seen = [json.loads(process.stdout.readline())]  # what was before
        admin.create("nodes", {}, "Follow.1")
        admin.delete("/api/v2/nodes/Follow.1")
        while (seen[-1]["spec"]["reason"], seen[-1]["spec"]["subject"]) != (
                "deleted", "nodes/Follow.1"):
            seen.append(json.loads(process.stdout.readline()))
        names = [e["spec"]["reason"] for e in seen if "Follow.1" in e["spec"]["subject"]]
        assert names == ["created", "deleted"]
        assert len({e["id"] for e in seen}) == len(seen)  # none twice
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(DEADLINE)


# --- the whole deployment ------------------------------------------------------------------------

def document(*objects):
    return json.dumps({"apiVersion": "v2", "objects": [
        {"kind": kind, "id": name, "spec": spec} for kind, name, spec in objects]})


def test_export_and_apply_to_another_server(cli, node, fresh_server, tmp_path):
    text = cli.out("export")
    assert text == cli.out("export")
    objects = json.loads(text)["objects"]
    assert objects[0]["kind"] == "settings"
    assert ("nodes", "Node.1") in [(o["kind"], o["id"]) for o in objects]
    assert not [o for o in objects if o["kind"] in ("tokens", "events")]
    text = json.dumps({"apiVersion": "v2", "objects": [
        o for o in objects if o["kind"] != "users" or o["id"] == ADMIN]})
    other = Cli(tmp_path, fresh_server, CNSMO_TOKEN=fresh_server.login().token)
    first = other.out("apply", "-f", "-", stdin=text)
    assert "created nodes/Node.1" in first and f"unchanged users/{ADMIN}" in first
    again = other.out("apply", "-f", "-", stdin=text)
    assert set(line.split()[0] for line in again.splitlines()) == {"unchanged"}
    want = [o for o in objects if o["kind"] == "nodes"]
    assert [o for o in json.loads(other.out("export"))["objects"] if o["kind"] == "nodes"] == want


def test_apply_changes_and_reports(cli, node, admin, tmp_path):
    path = tmp_path / "document.json"
    path.write_text(document(("nodes", "Node.1", {"cloud": "applied"}),
                             ("nodes", "Bad.1", {"address": "no address"}),
                             ("settings", "overlay", {})))
    done = cli.run("apply", "-f", str(path), code=REFUSED)
    assert done.stdout.splitlines() == ["unchanged settings/overlay", "failed nodes/Bad.1",
                                        "changed nodes/Node.1"]
    assert '"address"' in done.stderr and "nodes/Bad.1" in done.stderr
    spec = admin.spec("nodes", "Node.1")
    assert spec["cloud"] == "applied"
    assert spec["labels"] == {"tier": "web"}  # what isn't named stays


def test_apply_dry_run(cli, node, admin):
    revision = admin.get("/api/v2/nodes/Node.1").json()["revision"]
    text = document(("nodes", "Node.1", {"hub": True}), ("nodes", "New.1", {}))
    deltas = json.loads(cli.out("apply", "--dry-run", "-f", "-", "-o", "json", stdin=text))
    assert ("Node.1", "vpn/self/Node.1") in {(d["node"], d["key"]) for d in deltas}
    assert admin.get("/api/v2/nodes/Node.1").json()["revision"] == revision
    assert admin.get("/api/v2/nodes/New.1").status_code == 404


@pytest.mark.parametrize("text, about", [
    ("", "JSON"), ("{", "JSON"), ("[]", "/apiVersion"), ('{"apiVersion":"v1"}', "/apiVersion"),
    ('{"apiVersion":"v2"}', "/objects"),
    (document(("nodes", "A.1", {}), ("nodez", "A.2", {})), "/objects/1/kind"),
    (document(("events", "1", {})), "/objects/0/kind"),
    ('{"apiVersion":"v2","objects":[{"kind":"nodes","spec":{}}]}', "/objects/0/id"),
    ('{"apiVersion":"v2","objects":[{"kind":"nodes","id":"A.1"}]}', "/objects/0/spec"),
    ('{"apiVersion":"v2","objects":[{"kind":"nodes","id":"A.1","spec":{},"speck":1}]}',
     "/objects/0/speck"),
    ('{"apiVersion":"v2","objects":[],"more":[]}', "/more"),
    (document(("nodes", "A.1", {}), ("nodes", "A.1", {})), "/objects/1"),
])
def test_a_bad_document_changes_nothing(cli, admin, text, about):
    assert about in cli.err("apply", "-f", "-", stdin=text, code=USAGE)
    assert admin.get("/api/v2/nodes/A.1").status_code == 404


def test_backup(cli, server, tmp_path):
    path = tmp_path / "backup.db"
    cli.run("backup", str(path))
    whole = path.read_bytes()
    assert whole.startswith(b"SQLite format 3\0")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    cli.environment["CNSMO_URL"] = f"https://127.0.0.1:{free_port()}"
    cli.run("backup", str(path), code=UNREACHABLE)
    assert path.read_bytes() == whole  # the good one stays
    assert list(pathlib.Path(tmp_path).glob("backup.db.*")) == []


# --- completion ----------------------------------------------------------------------------------

@pytest.mark.parametrize("words, expected", [
    (["no"], ["node"]), (["node", "s"], ["show", "set"]), (["settings", "set", ""], ["overlay", "dns"]),
    (["user", "add", "bob", "--role", ""], ["viewer", "operator", "admin"]),
    (["node", "list", "-o", "j"], ["json", "jsonl"]),
    (["node", "set", "Agent.1", "--h"], ["--hub", "--help"]),
    (["completion", ""], ["bash", "zsh"]),
])
def test_bash_completion(cli, words, expected):
    script = cli.out("completion", "bash") + f"""
COMP_WORDS=(cnsmo {' '.join(repr(w) for w in words)}); COMP_CWORD={len(words)}
_cnsmo; printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-u", "-c", script], capture_output=True, text=True,
                          check=True, timeout=DEADLINE)
    assert done.stdout.split() == expected and done.stderr == ""
