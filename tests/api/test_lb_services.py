"""lb/services: every rule with its field and sentence, what nodes get, keys, and status."""
import json
import subprocess

import pytest

from agents import with_agents
from helpers import problem, until

SERVICES = "/api/v2/lb/services"


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    yield from with_agents(tmp_path_factory.mktemp("lb"), {
        "Front.1": {"services": ["vpn", "lb"], "labels": {"role": "front"}},
        "Front.2": {"services": ["vpn", "lb"], "labels": {"role": "front", "zone": "b"}},
        "Web.1": {"services": ["vpn"], "labels": {"app": "web"}}})


@pytest.fixture
def api(own):
    yield own.admin
    for item in own.admin.get(SERVICES).json()["items"]:
        assert own.admin.delete(f"{SERVICES}/{item['id']}").status_code == 204


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Two certificates with their keys, and an RSA one."""
    folder = tmp_path_factory.mktemp("pairs")
    made = []
    for i, kind in enumerate((["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"],
                              ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"], ["rsa:2048"])):
        subprocess.run(["openssl", "req", "-x509", "-newkey", *kind, "-nodes", "-days", "9",
                        "-subj", "/CN=x", "-keyout", folder / f"{i}.key", "-out",
                        folder / f"{i}.pem"], check=True, capture_output=True)
        made.append({"certificate": (folder / f"{i}.pem").read_text(),
                     "key": (folder / f"{i}.key").read_text()})
    return made


def spec(**more):
    return {"node": "Front.1", "port": 80, "backends": {"nodes": ["Web.1"]}, **more}


def post(api, name, body, query=""):
    return api.post(SERVICES + query, json={"id": name, "spec": body})


def make(api, name, **more):
    reply = post(api, name, spec(**more), "?wait=applied")
    assert reply.status_code == 201, reply.text
    return reply.json()


def without(**more):
    body = spec()
    del body["node"]
    return {**body, **more}


# --- what is refused ------------------------------------------------------------------------------

ONE_OF = '"backends" must have exactly one of "selector", "pattern" and "nodes"'


@pytest.mark.parametrize("body, status, pointer, sentence", [
    (without(), 400, "/spec/node", '"node" or "selector" is required'),
    (spec(selector={}), 400, "/spec/selector",
     '"selector" and "node" exclude each other: give one of them'),
    (spec(node="Nobody"), 400, "/spec/node", '"node": there is no node "Nobody"'),
    (spec(node="Web.1"), 409, "/spec/node",
     '"node": Web.1 doesn\'t run lb; turn it on: cnsmo node set Web.1 --services vpn,lb'),
    (spec(backends={}), 400, "/spec/backends", ONE_OF),
    (spec(backends={"pattern": "*", "nodes": ["Web.1"]}), 400, "/spec/backends", ONE_OF),
    (spec(backends={"nodes": ["Web.1", "Nobody"]}), 400, "/spec/backends/nodes",
     '"nodes": there is no node "Nobody"'),
    (spec(backends={"nodes": ["Web.1", "Front.1"]}), 400, "/spec/backends/nodes",
     '"nodes": Front.1 has the front port itself: give the back ends another "backendPort"'),
    (spec(sticky="cookie"), 400, "/spec/sticky",
     '"sticky": a cookie needs the mode http; use source with tcp'),
    (spec(tls={}), 400, "/spec/tls", '"tls" needs a certificate and its key, or "fromCa"'),
    (spec(tls={"key": "-----BEGIN x"}), 400, "/spec/tls/key", '"key" needs its certificate'),
    (spec(tls={"certificate": "-----BEGIN x"}), 400, "/spec/tls/key",
     '"key" is required with the certificate'),
    (spec(tls={"certificate": "-----BEGIN x", "fromCa": True}), 400, "/spec/tls",
     '"tls": a certificate and "fromCa" exclude each other'),
    (spec(tls={"fromCa": True, "names": ["127.0.0.1"]}), 400, "/spec/tls/names",
     '"names": 127.0.0.1 is the CNSMO server\'s own name'),
    (spec(tls={"fromCa": True, "names": ["x", "LocalHost"]}), 400, "/spec/tls/names",
     '"names": LocalHost is the CNSMO server\'s own name'),
])
def test_refused(api, body, status, pointer, sentence):
    assert problem(post(api, "web", body), status, pointer) == sentence
    assert api.get(SERVICES).json()["items"] == []


@pytest.mark.parametrize("body, pointer", [
    ({"node": "Front.1", "backends": {"pattern": "*"}}, "/spec/port"),
    ({"node": "Front.1", "port": 80}, "/spec/backends"),
    (spec(port=0), "/spec/port"),
    (spec(port=65536), "/spec/port"),
    (spec(port="80"), "/spec/port"),
    (spec(backendPort=0), "/spec/backendPort"),
    (spec(mode="udp"), "/spec/mode"),
    (spec(side="inside"), "/spec/side"),
    (spec(algorithm="random"), "/spec/algorithm"),
    (spec(backends={"nodes": []}), "/spec/backends/nodes"),
    (spec(backends={"nodes": ["Web.1", "Web.1"]}), "/spec/backends/nodes"),
    (spec(backends={"pattern": ""}), "/spec/backends/pattern"),
    (spec(backends={"pattern": "Web.1\nserver x"}), "/spec/backends/pattern"),
    (spec(backends={"selector": {"a": "b/c"}}), "/spec/backends/selector/a"),
    (spec(check={"type": "ping"}), "/spec/check/type"),
    (spec(check={"type": "http", "path": "health"}), "/spec/check/path"),
    (spec(check={"type": "http", "path": "/a b"}), "/spec/check/path"),
    (spec(check={"type": "http", "path": "/a\nuser root"}), "/spec/check/path"),
    (spec(check={"interval": 0}), "/spec/check/interval"),
    (spec(timeouts={"client": 0}), "/spec/timeouts/client"),
    (spec(sticky="always"), "/spec/sticky"),
    (spec(tls={"certificate": "no PEM", "key": "x"}), None),
    (spec(tls={"fromCa": True, "names": ["a b"]}), "/spec/tls/names/0"),
    (spec(drain=["a b"]), "/spec/drain/0"),
    (spec(weight=3), "/spec/weight"),
])
def test_fields_out_of_form(api, body, pointer):
    problem(post(api, "web", body), 400, pointer)
    assert api.get(SERVICES).json()["items"] == []


@pytest.mark.parametrize("name", ["", "a/b", "a b", "-x", "x\n", "x" * 64])
def test_names_out_of_form(api, name):
    problem(post(api, name, spec()), 400, "/id")


def test_lb_needs_vpn(own, api):
    reply = api.patch("/api/v2/nodes/Web.1", json={"spec": {"services": ["lb"]}})
    assert problem(reply, 400, "/spec/services") == '"services": lb needs vpn beside it'


# --- one port of a node belongs to one service ------------------------------------------------------

def test_two_services_on_one_port(api):
    make(api, "web")
    assert problem(post(api, "other", spec()), 409, "/spec/port") == (
        '"port" 80 of Front.1 is taken by the lb service web')
    assert problem(post(api, "other", without(selector={})), 409, "/spec/port") == (
        '"port" 80 of Front.1 is taken by the lb service web')
    assert post(api, "other", spec(node="Front.2")).status_code == 201
    make(api, "more", port=81)
    reply = api.patch(f"{SERVICES}/more", json={"spec": {"port": 80}})
    assert problem(reply, 409, "/spec/port").endswith("is taken by the lb service web")
    assert api.patch(f"{SERVICES}/web", json={"spec": {"comment": "x"}}).status_code == 200
    assert api.delete(f"{SERVICES}/web").status_code == 204
    make(api, "third")


def test_a_label_that_brings_two_services_together(api):
    assert post(api, "a", without(selector={"zone": "b"})).status_code == 201
    assert post(api, "b", without(selector={"zone": "c"})).status_code == 201
    before = api.get("/api/v2/nodes/Front.2").json()["spec"]["labels"]
    assert post(api, "c", without(selector={"more": "1"})).status_code == 201
    reply = api.patch("/api/v2/nodes/Front.2", json={"spec": {"labels": {"more": "1"}}})
    assert problem(reply, 409, "/spec/labels") == (
        "the lb services a and c would both have port 80 of Front.2")
    assert api.get("/api/v2/nodes/Front.2").json()["spec"]["labels"] == before


def test_the_servers_own_ports(own, api):
    """The agents of this test are where the server is: their links come from where they go to."""
    for port in (8443, own.link_port):
        assert problem(post(api, "web", spec(port=port)), 409, "/spec/port") == (
            f"port {port} of Front.1 is taken by the CNSMO server")


# --- what nodes get ----------------------------------------------------------------------------------

def test_resources_follow_the_nodes(own, api):
    front, other = own.agents["Front.1"], own.agents["Front.2"]
    make(api, "web", backends={"selector": {"app": "web"}}, backendPort=8080)
    body = front.resources["lb/service/web/Front.1"]
    assert [b["node"] for b in body["backends"]] == ["Web.1"] and body["backendPort"] == 8080
    assert "lb/service/web/Front.2" not in other.resources
    label = {"spec": {"labels": {"app": "web"}}}
    assert api.patch("/api/v2/nodes/Front.2", json=label).status_code == 200
    front.until(lambda r: [b["node"] for b in r["lb/service/web/Front.1"]["backends"]]
                == ["Front.2", "Web.1"])
    label = {"spec": {"labels": {"app": None}}}
    assert api.patch("/api/v2/nodes/Front.2", json=label).status_code == 200
    front.until(lambda r: [b["node"] for b in r["lb/service/web/Front.1"]["backends"]] == ["Web.1"])
    reply = api.put(f"{SERVICES}/web?wait=applied", json={"spec": without(selector={})})
    assert reply.status_code == 200
    assert "lb/service/web/Front.2" in other.resources
    assert api.delete(f"{SERVICES}/web?wait=applied").status_code in (200, 204)
    assert "lb/service/web/Front.1" not in front.resources


def test_nobody_connects_to_itself(own, api):
    """A node with the front port has HAProxy where a back end would be."""
    fronts, every = {"role": "front"}, {"pattern": "*"}
    assert post(api, "web", without(selector=fronts, backends=every),
                "?wait=applied").status_code == 201
    for node in ("Front.1", "Front.2"):
        body = own.agents[node].resources[f"lb/service/web/{node}"]
        assert [b["node"] for b in body["backends"]] == ["Web.1"]
    assert api.patch(f"{SERVICES}/web?wait=applied",
                     json={"spec": {"backendPort": 8080}}).status_code == 200
    body = own.agents["Front.1"].resources["lb/service/web/Front.1"]
    assert [b["node"] for b in body["backends"]] == ["Front.1", "Front.2", "Web.1"]


def test_dry_run_says_who_is_concerned_and_no_key(own, api, pairs):
    reply = post(api, "web", spec(tls=pairs[0]), "?dryRun=true")
    assert reply.status_code == 200, reply.text
    assert "Front.1" in reply.text and "PRIVATE" not in reply.text
    assert api.get(SERVICES).json()["items"] == []
    make(api, "web", tls=pairs[0])
    reply = api.patch(f"{SERVICES}/web?dryRun=true", json={"spec": {"port": 81}})
    assert reply.status_code == 200 and "PRIVATE" not in reply.text


# --- keys --------------------------------------------------------------------------------------------

@pytest.mark.parametrize("which", [0, 2])
def test_a_pair_that_belongs_together(own, api, pairs, which):
    made = make(api, "web", tls=pairs[which])
    assert made["spec"]["tls"]["certificate"] == pairs[which]["certificate"]
    assert "key" not in made["spec"]["tls"] and made["status"]["certificateExpires"]
    body = own.agents["Front.1"].resources["lb/service/web/Front.1"]
    assert body["secret"] == pairs[which]["key"]
    for path in (SERVICES, f"{SERVICES}/web", "/api/v2/events"):
        assert "PRIVATE" not in api.get(path).text


def test_a_pair_that_doesnt(api, pairs):
    mixed = {"certificate": pairs[0]["certificate"], "key": pairs[1]["key"]}
    assert problem(post(api, "web", spec(tls=mixed)), 400, "/spec/tls/key") == (
        '"key" isn\'t the one of the certificate')
    broken = {**pairs[0], "key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"}
    assert problem(post(api, "web", spec(tls=broken)), 400, "/spec/tls/key") == (
        '"key" must be a private key in PEM that needs no password')
    broken = {**pairs[0], "certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n"}
    assert '"certificate" must be a certificate in PEM' in problem(
        post(api, "web", spec(tls=broken)), 400, "/spec/tls/certificate")


def test_a_key_among_the_certificates(api, pairs):
    """As in the files that HAProxy itself takes: it would be shown to whoever may read."""
    both = {**pairs[0], "certificate": pairs[0]["certificate"] + pairs[0]["key"]}
    assert '"certificate" has a private key in it' in problem(
        post(api, "web", spec(tls=both)), 400, "/spec/tls/certificate")
    assert api.get(SERVICES).json()["items"] == []


def test_changes_of_a_pair(own, api, pairs):
    front = own.agents["Front.1"]
    make(api, "web", tls=pairs[0])
    reply = api.patch(f"{SERVICES}/web", json={"spec": {"tls": {
        "certificate": pairs[1]["certificate"]}}})
    assert problem(reply, 400, "/spec/tls/key") == '"key" isn\'t the one of the certificate'
    reply = api.put(f"{SERVICES}/web", json={"spec": spec(port=81, tls={
        "certificate": pairs[0]["certificate"]})})
    assert reply.status_code == 200, reply.text
    front.until(lambda r: r["lb/service/web/Front.1"]["port"] == 81)
    assert front.resources["lb/service/web/Front.1"]["secret"] == pairs[0]["key"]
    assert api.patch(f"{SERVICES}/web", json={"spec": {"tls": pairs[1]}}).status_code == 200
    front.until(lambda r: r["lb/service/web/Front.1"].get("secret") == pairs[1]["key"])
    assert api.patch(f"{SERVICES}/web", json={"spec": {"tls": None}}).status_code == 200
    front.until(lambda r: "secret" not in r["lb/service/web/Front.1"])
    assert "certificateExpires" not in api.get(f"{SERVICES}/web").json()["status"]


def test_the_authority_makes_a_pair(own, api):
    front = own.agents["Front.1"]
    make(api, "web", tls={"fromCa": True, "names": ["www.example.org", "192.0.2.9"]})
    first = front.resources["lb/service/web/Front.1"]
    shown = subprocess.run(["openssl", "x509", "-noout", "-text"], input=first["certificate"],
                           text=True, check=True, capture_output=True).stdout
    assert "DNS:www.example.org" in shown and "IP Address:192.0.2.9" in shown
    assert "URI:cnsmo:service:web" in shown and "cnsmo:server" not in shown
    assert api.patch(f"{SERVICES}/web", json={"spec": {"port": 82}}).status_code == 200
    front.until(lambda r: r["lb/service/web/Front.1"]["port"] == 82)
    assert front.resources["lb/service/web/Front.1"]["secret"] == first["secret"]
    assert api.post(f"{SERVICES}/web/renew").status_code == 200
    front.until(lambda r: r["lb/service/web/Front.1"]["secret"] != first["secret"])


def test_without_names_it_is_made_once(own, api):
    front = own.agents["Front.1"]
    make(api, "web", tls={"fromCa": True})
    first = front.resources["lb/service/web/Front.1"]
    reply = api.patch(f"{SERVICES}/web?wait=applied", json={"spec": {"drain": ["Web.1"]}})
    assert reply.status_code == 200, reply.text
    assert front.resources["lb/service/web/Front.1"]["secret"] == first["secret"]


# --- status ------------------------------------------------------------------------------------------

def test_status_is_the_fronts(own, api):
    make(api, "web")
    shown = api.get(f"{SERVICES}/web").json()["status"]
    assert shown["fronts"] == [{"node": "Front.1", "state": "unknown",
                                "message": "the node hasn't told of it yet", "backends": []}]
    backend = {"node": "Web.1", "address": "10.77.0.3", "state": "down", "why": "refused",
               "sessions": 0, "rate": 0, "total": 3}
    front = {"state": "running", "message": "", "port": 80, "sessions": 1, "rate": 2,
             "backends": [backend]}
    own.agents["Front.1"].tell(api, "lb", state="running", message="1 service",
                               fronts=[{"service": "web", **front}])
    own.agents["Front.1"].count({"lb/service/web": [12, 3456], "lb/service/none": [1, 1]})
    until("the count", lambda: api.get(f"{SERVICES}/web").json()["status"]["connections"] == 12)
    assert api.get(f"{SERVICES}/web/series").json()["points"][-1]["packets"] == 12
    metrics = api.get("/metrics").text
    assert 'cnsmo_lb_service_connections_total{service="web",node="Front.1"} 12' in metrics
    assert 'cnsmo_lb_service_bytes_total{service="web",node="Front.1"} 3456' in metrics
    shown = api.get(f"{SERVICES}/web").json()["status"]
    assert shown["bytes"] == 3456 and shown["up"] == "0 of 1"
    assert shown["fronts"] == [{"node": "Front.1", **front}]
    assert shown["problem"] == "none of its back ends is up"


def test_status_says_why_it_is_nowhere(own, api):
    assert post(api, "a", without(selector={"role": "none"})).status_code == 201
    assert api.get(f"{SERVICES}/a").json()["status"]["problem"] == (
        "no node that runs lb has these labels")
    make(api, "b", backends={"selector": {"app": "none"}})
    assert api.get(f"{SERVICES}/b").json()["status"]["problem"] == (
        "it has no back ends: no node matches")
    make(api, "c", port=99)
    own.agents["Front.1"].tell(api, "lb", state="failed", message="x", fronts=[
        {"service": "c", "state": "failed", "message": "port 99 is taken by nginx (process 7)",
         "backends": []}])
    until("its word", lambda: api.get(f"{SERVICES}/c").json()["status"]["problem"]
          == "Front.1: port 99 is taken by nginx (process 7)")


@pytest.mark.parametrize("role, status", [("viewer", 403), ("operator", 201)])
def test_who_may(own, api, role, status):
    api.create("users", {"role": role, "password": role + "-password"}, f"lb-{role}")
    client = own.login(f"lb-{role}", role + "-password")
    assert post(client, "web", spec()).status_code == status
    assert client.get(SERVICES).status_code == 200
