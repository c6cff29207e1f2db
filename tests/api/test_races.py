"""Many at once: nothing is lost, and one alone wins where only one can."""
from concurrent.futures import ThreadPoolExecutor


def at_once(function, items):
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(function, items))


def test_patches_of_one_object_all_count(admin, node):
    def add_label(i):
        client = admin.server.client(admin.token)
        return client.patch_spec("nodes", "Node.1", {"labels": {f"l{i}": str(i)}}).status_code

    assert set(at_once(add_label, range(40))) == {200}
    labels = admin.spec("nodes", "Node.1")["labels"]
    assert {f"l{i}": str(i) for i in range(40)}.items() <= labels.items()


def test_one_wins_with_if_match(admin, node):
    def take(i):
        client = admin.server.client(admin.token)
        return client.patch_spec("nodes", "Node.1", {"cloud": f"c{i}"},
                                 headers={"If-Match": f'"{node["revision"]}"'}).status_code

    codes = at_once(take, range(16))
    assert codes.count(200) == 1 and codes.count(412) == 15


def test_one_creates_and_addresses_are_unique(admin):
    def create(i):
        client = admin.server.client(admin.token)
        return client.post("/api/v2/nodes", json={"id": f"Race.{i % 10}", "spec": {}}).status_code

    codes = at_once(create, range(40))
    assert codes.count(201) == 10 and codes.count(409) == 30
    nodes = [n for n in admin.get("/api/v2/nodes?limit=1000").json()["items"]]
    addresses = [n["spec"]["address"] for n in nodes]
    assert len(addresses) == len(set(addresses))
    for i in range(10):
        assert admin.delete(f"/api/v2/nodes/Race.{i}").status_code == 204


def test_two_admins_cant_demote_each_other(fresh_server):
    first = fresh_server.login()
    first.create("users", {"role": "admin", "password": "rivals-password"}, "rival")
    second = fresh_server.login("rival", "rivals-password")
    for _ in range(10):
        at_once(lambda pair: pair[0].patch_spec("users", pair[1], {"role": "viewer"}),
                [(first, "rival"), (second, "admin")])
        left = [c for c in (first, second) if c.get("/api/v2/users").status_code == 200]
        assert left
        for name in ("admin", "rival"):
            assert left[0].patch_spec("users", name, {"role": "admin"}).status_code == 200
