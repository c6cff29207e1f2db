"""dns/records, settings/dns and API v1's DNS: every rule with its field and sentence, what nodes
get, and status."""
import pytest

from agents import with_agents
from helpers import problem, v1_refused

RECORDS, SETTINGS = "/api/v2/dns/records", "/api/v2/settings/dns"
CHARACTERS = ("may have letters, digits and hyphens, with dots between (RFC 1123); a * is a whole "
              "first label")
LONG = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 62])  # 254 characters


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    yield from with_agents(tmp_path_factory.mktemp("dns"), {
        "Agent.1": {"services": ["vpn", "dns"]}, "Agent.2": {"services": ["vpn", "dns"]},
        "Plain": {"services": ["vpn"]}})


@pytest.fixture
def api(own):
    yield own.admin
    for item in own.admin.get(f"{RECORDS}?limit=500").json()["items"]:
        assert own.admin.delete(f"{RECORDS}/{item['id']}").status_code == 204


def post(api, spec, **query):
    return api.post(RECORDS, json={"spec": spec}, params=query)


def make(api, name, value, **spec):
    reply = post(api, {"name": name, "value": value, **spec}, wait="applied")
    assert reply.status_code == 201, reply.text
    return reply.json()


@pytest.mark.parametrize("spec, status, pointer, sentence", [
    ({"name": "", "value": "10.0.0.1"}, 400, "/spec/name", '"name" is not allowed to be empty'),
    ({"name": "a..b", "value": "10.0.0.1"}, 400, "/spec/name",
     '"name" has an empty label: two dots, or one at its beginning'),
    ({"name": ".a", "value": "10.0.0.1"}, 400, "/spec/name",
     '"name" has an empty label: two dots, or one at its beginning'),
    ({"name": "x" * 64, "value": "10.0.0.1"}, 400, "/spec/name",
     '"name" has a label of 64 characters, and 63 are allowed (RFC 1035)'),
    ({"name": LONG + ".", "value": "10.0.0.1"}, 400, "/spec/name",
     '"name" has 254 characters with its domain, and 253 are allowed (RFC 1035)'),
    ({"name": "-a", "value": "10.0.0.1"}, 400, "/spec/name",
     '"name" has a label that begins or ends with a hyphen (RFC 1123)'),
    ({"name": "a-.b", "value": "10.0.0.1"}, 400, "/spec/name",
     '"name" has a label that begins or ends with a hyphen (RFC 1123)'),
    ({"name": "a_b", "value": "10.0.0.1"}, 400, "/spec/name", f'"name" {CHARACTERS}'),
    ({"name": "a b", "value": "10.0.0.1"}, 400, "/spec/name", f'"name" {CHARACTERS}'),
    ({"name": "a\nb", "value": "10.0.0.1"}, 400, "/spec/name", f'"name" {CHARACTERS}'),
    ({"name": "ä", "value": "10.0.0.1"}, 400, "/spec/name", f'"name" {CHARACTERS}'),
    ({"name": "a.*.b", "value": "10.0.0.1"}, 400, "/spec/name", f'"name" {CHARACTERS}'),
    ({"name": "*a", "value": "10.0.0.1"}, 400, "/spec/name", f'"name" {CHARACTERS}'),
    ({"name": "10.0.0.1", "value": "10.0.0.1"}, 400, "/spec/name",
     '"name" 10.0.0.1 is an address, and must be a name'),
    ({"name": "a", "value": "999.1.1.1"}, 400, "/spec/value",
     '"value" of an A record must be an IPv4 address, such as 10.77.0.3'),
    ({"name": "a", "value": "web", "type": "A"}, 400, "/spec/value",
     '"value" of an A record must be an IPv4 address, such as 10.77.0.3'),
    ({"name": "a", "value": "10.0.0.1", "type": "AAAA"}, 400, "/spec/value",
     '"value" of an AAAA record must be an IPv6 address, such as 2001:db8::3'),
    ({"name": "a", "value": "*.b"}, 400, "/spec/value", '"value" can\'t be a wildcard'),
    ({"name": "a", "value": "b c"}, 400, "/spec/value", f'"value" {CHARACTERS}'),
    ({"name": "a", "value": ""}, 400, "/spec/value", '"value" is not allowed to be empty'),
    ({"name": "a", "value": "A"}, 400, "/spec/value",
     '"value" leads back to "a": CNAMEs can\'t make a loop'),
    ({"name": "*.a", "value": "10.0.0.1", "ttl": 5}, 400, "/spec/ttl",
     '"ttl" can\'t be given for a wildcard'),
    ({"name": "*.a", "value": "www.example.org."}, 400, "/spec/value",
     '"value" of a wildcard must lead to an address or to a name of the domain, and '
     "www.example.org is outside"),
    ({"name": "Agent-1", "value": "10.0.0.1"}, 409, "/spec/name",
     '"name" agent-1 is that of the node Agent.1'),
    ({"name": "plain.cnsmo.internal.", "value": "10.0.0.1"}, 409, "/spec/name",
     '"name" plain is that of the node Plain'),
])
def test_records_are_refused(api, spec, status, pointer, sentence):
    assert problem(post(api, spec), status, pointer) == sentence
    assert api.get(RECORDS).json()["items"] == []


@pytest.mark.parametrize("spec, pointer", [
    ({"name": "a"}, "/spec/value"),
    ({"value": "10.0.0.1"}, "/spec/name"),
    ({"name": "a", "value": "10.0.0.1", "type": "PTR"}, "/spec/type"),
    ({"name": "a", "value": "10.0.0.1", "ttl": -1}, "/spec/ttl"),
    ({"name": "a", "value": "10.0.0.1", "ttl": 604801}, "/spec/ttl"),
    ({"name": "a" * 301, "value": "10.0.0.1"}, "/spec/name"),
    ({"name": "a", "value": "10.0.0.1", "port": 1}, "/spec/port"),
    ({"name": ["a"], "value": "10.0.0.1"}, "/spec/name"),
])
def test_fields_out_of_form(api, spec, pointer):
    problem(post(api, spec), 400, pointer)


def test_nul_is_refused(api):
    reply = api.post(RECORDS, data=b'{"spec":{"name":"a\\u0000b","value":"10.0.0.1"}}',
                     headers={"Content-Type": "application/json"})
    assert reply.status_code == 400


@pytest.mark.parametrize("name, kept, whole", [
    ("Web", "web", "web.cnsmo.internal"),
    ("web.cnsmo.internal", "web", "web.cnsmo.internal"),
    ("web.CNSMO.internal.", "web", "web.cnsmo.internal"),
    ("db.prod", "db.prod", "db.prod.cnsmo.internal"),
    ("*.apps", "*.apps", "*.apps.cnsmo.internal"),
    ("www.Example.org.", "www.example.org.", "www.example.org"),
    ("cnsmo.internal.", "@", "cnsmo.internal"),
    (LONG[:-1] + ".", LONG[:-1] + ".", LONG[:-1]),
])
def test_names_have_one_form(api, name, kept, whole):
    made = make(api, name, "10.0.0.1")
    assert (made["spec"]["name"], made["spec"]["type"]) == (kept, "A")
    assert api.get(f"{RECORDS}/{made['id']}").json()["status"]["fullName"] == whole


def test_the_value_says_the_type(api):
    assert make(api, "a", "2001:DB8:0::3")["spec"]["value"] == "2001:db8::3"
    assert make(api, "b", "a.cnsmo.internal")["spec"] == {
        "name": "b", "type": "CNAME", "value": "a", "ttl": 0, "comment": ""}


def test_the_same_twice(api):
    first = make(api, "web", "10.0.0.1")["id"]
    make(api, "web", "10.0.0.2")
    assert problem(post(api, {"name": "WEB", "value": "10.0.0.1"}), 409) == (
        f"dns record {first} is the same")
    reply = api.patch(f"{RECORDS}/{first}", json={"spec": {"comment": "mine"}})
    assert reply.status_code == 200, reply.text


def test_a_cname_stands_alone(api):
    address = make(api, "web", "10.0.0.1")["id"]
    assert problem(post(api, {"name": "web", "value": "other"}), 409, "/spec/type") == (
        f'"type": a CNAME stands alone, and dns record {address} has the same name')
    cname = make(api, "www", "web")["id"]
    for value in ("10.0.0.1", "2001:db8::1", "third"):
        assert problem(post(api, {"name": "www", "value": value}), 409, "/spec/name") == (
            f'"name": dns record {cname} is a CNAME of the same name, and there can be nothing '
            "beside it")


def test_cnames_make_no_loop(api):
    make(api, "a", "b")
    last = make(api, "b", "c")["id"]
    assert problem(post(api, {"name": "c", "value": "a"}), 409, "/spec/value") == (
        '"value" leads back to "c": CNAMEs can\'t make a loop')
    assert problem(api.patch(f"{RECORDS}/{last}", json={"spec": {"value": "a"}}), 409,
                   "/spec/value") == '"value" leads back to "b": CNAMEs can\'t make a loop'
    assert api.get(f"{RECORDS}/{last}").json()["status"]["problem"].startswith(
        "there is no such name yet")
    make(api, "c", "10.0.0.7")
    assert api.get(f"{RECORDS}/{last}").json()["status"]["addresses"] == ["10.0.0.7"]


def test_a_name_has_so_many_records(api):
    specs = [{"spec": {"name": "many", "value": f"10.0.1.{i}"}} for i in range(64)]
    assert api.post(RECORDS, json=specs).status_code == 201
    assert problem(post(api, {"name": "many", "value": "10.0.2.1"}), 409, "/spec/name") == (
        '"name": there are 64 records of this name already')


def test_a_list_of_500(api):
    specs = [{"spec": {"name": f"h{i}", "value": f"10.1.{i // 250}.{i % 250 + 1}"}}
             for i in range(500)]
    assert len(api.post(RECORDS, json=specs).json()["ids"]) == 500


def test_nodes_with_the_same_label(api):
    def node(name):
        return api.post("/api/v2/nodes", json={"id": name, "spec": {"services": ["vpn"]}})
    assert problem(node("agent_1"), 409) == (
        "the node Agent.1 has the same DNS name as agent_1 would have, agent-1; choose another id")
    number = make(api, "later", "10.0.0.1")["id"]
    assert problem(node("Later"), 409) == (
        f"dns record {number} has the name later, which is that of the node Later; delete it first")
    assert api.delete(f"{RECORDS}/{number}").status_code == 204
    assert node("Later").status_code == 201
    assert api.delete("/api/v2/nodes/Later").status_code == 204


def test_dns_needs_vpn(api):
    reply = api.patch("/api/v2/nodes/Plain", json={"spec": {"services": ["dns"]}})
    assert problem(reply, 400, "/spec/services") == '"services": dns needs vpn beside it'


@pytest.mark.parametrize("spec, pointer, sentence", [
    ({"domain": ""}, "/spec/domain", '"domain" is not allowed to be empty'),
    ({"domain": "a..b"}, "/spec/domain",
     '"domain" has an empty label: two dots, or one at its beginning'),
    ({"domain": "a\nserver=1.1.1.1"}, "/spec/domain", f'"domain" {CHARACTERS}'),
    ({"upstreams": ["example.org"]}, "/spec/upstreams/0",
     '"upstreams" must be addresses, and "example.org" isn\'t'),
    ({"upstreams": ["127.0.77.53"]}, "/spec/upstreams/0",
     '"upstreams": 127.0.77.53 is where dns itself answers'),
])
def test_settings_are_refused(api, spec, pointer, sentence):
    assert problem(api.patch(SETTINGS, json={"spec": spec}), 400, pointer) == sentence


def test_the_domain_is_kept_in_lower_case(own, api):
    reply = api.patch(f"{SETTINGS}?wait=applied", json={"spec": {"domain": "Lab.Example"}})
    try:
        assert reply.status_code == 200, reply.text
        assert reply.json()["spec"]["domain"] == "lab.example"
        assert make(api, "web.LAB.example", "10.0.0.1")["spec"]["name"] == "web"
    finally:
        api.patch(SETTINGS, json={"spec": {"domain": "cnsmo.internal"}})


def test_a_domain_that_is_too_long_for_a_name(api):
    number = make(api, ".".join(["a" * 60] * 3), "10.0.0.1")["id"]
    reply = api.patch(SETTINGS, json={"spec": {"domain": ".".join(["b" * 60] * 2)}})
    assert problem(reply, 409, "/spec/domain") == (
        f'"domain": the name of dns record {number} would have more than 253 characters with it '
        "(RFC 1035)")


# --- API v1 -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("base", ["/api/v1/services/dns", "/api/v1/dns", "/API/v1/Services/DNS"])
def test_v1(api, base):
    reply = api.post(f"{base}/record", json={"dnsrecords": "10.10.10.9 web"})
    assert (reply.status_code, reply.json()) == (200, {})
    lines = ["10.10.10.3\t  db", "2001:db8::1 db"]
    assert api.post(f"{base}/record/", json={"dnsrecords": lines}).status_code == 200
    make(api, "www", "web")
    assert api.get(f"{base}/records").json() == {
        "dns_records": ["10.10.10.9 web\n", "10.10.10.3 db\n", "2001:db8::1 db\n"]}


@pytest.mark.parametrize("body, status, sentence", [
    ({}, 400, '"dnsrecords" is required'),
    ({"dnsrecords": []}, 400, '"dnsrecords" is not allowed to be empty'),
    ({"dnsrecords": 7}, 400, '"dnsrecords" must be a string, or a list of strings'),
    ({"dnsrecords": "10.0.0.1"}, 400,
     '"dnsrecords" must be an address and a name, such as 10.10.10.9 web'),
    ({"dnsrecords": "10.0.0.1 a b"}, 400,
     '"dnsrecords" must be an address and a name, such as 10.10.10.9 web'),
    ({"dnsrecords": "999.1.1.1 a"}, 400,
     '"value" of an A record must be an IPv4 address, such as 10.77.0.3'),
    ({"dnsrecords": "10.0.0.1 agent-1"}, 409, '"name" agent-1 is that of the node Agent.1'),
])
def test_v1_refuses(api, body, status, sentence):
    reply = api.post("/api/v1/services/dns/record", json=body)
    v1_refused(reply, status, sentence)
    assert api.get("/api/v1/services/dns/records").json() == {"dns_records": []}


def test_v1_answers_when_those_that_are_there_do(own, api):
    """Who is away learns of it later; who is there and doesn't apply it is told of."""
    api.create("nodes", {"services": ["vpn", "dns"]}, "Away")
    agent = own.agents["Agent.2"]
    try:
        assert api.post("/api/v1/dns/record", json={"dnsrecords": "10.0.0.1 a"}).status_code == 200
        agent.acknowledges = False
        v1_refused(api.post("/api/v1/dns/record", json={"dnsrecords": "10.0.0.2 b"}), 503,
                   "Agent.2 hasn't applied it yet; the record is kept")
        assert len(api.get("/api/v1/dns/records").json()["dns_records"]) == 2
    finally:
        agent.acknowledges = True
        api.delete("/api/v2/nodes/Away")
