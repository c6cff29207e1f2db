#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/mem.h"
#include "services/vpn/vpn-path.h"

/* One node's view: a hub, a peer behind a NAT, and time that the test moves. */
struct world {
    struct path path;
    struct path_peer hub, peer, hub2;
    struct path_peer *peers[3]; /* in the order of ids: hub, peer, hub2 */
    size_t len;
    struct path_now now;
};

static const struct ip4_endpoint HUB = {0xc0000201, 51820}, PEER = {0xc0000202, 51820},
                                 PEER_LOCAL = {0x0a000002, 51820};

static void world_init(struct world *w)
{
    *w = (struct world){.path = {.announced = 1}, .now = {1000000000, 1000000}, .len = 2};
    w->hub.config = (struct path_config){
        .hub = 1, .public = 1, .pair = 1, .endpoints = {HUB}, .endpoints_len = 1};
    w->peer.config =
        (struct path_config){.pair = 100, .endpoints = {PEER, PEER_LOCAL}, .endpoints_len = 2};
    w->hub2.config = w->hub.config;
    w->peers[0] = &w->hub;
    w->peers[1] = &w->peer;
    w->peers[2] = &w->hub2;
}

/* The device after it took what is wanted. */
static void take(struct path_peer *p)
{
    if (p->want.renew || !p->seen.present) {
        p->seen = (struct path_seen){.present = 1};
    }
    if (p->want.endpoint.port) {
        p->seen.endpoint = p->want.endpoint;
    }
    p->seen.own = p->want.own;
    p->seen.range = p->want.range;
    path_done(p);
}

static void step(struct world *w)
{
    w->now.usec += 1000000;
    w->now.wall_sec++;
    path_step(&w->path, w->peers, w->len, w->now);
    for (size_t i = 0; i < w->len; i++) {
        take(w->peers[i]);
    }
}

static void hear(struct world *w, struct path_peer *p)
{
    p->seen.rx_bytes += 32;
    if (!p->seen.handshake_sec) {
        p->seen.handshake_sec = w->now.wall_sec;
    }
}

/* Seconds pass, and some peers are heard all the time. */
static void pass(struct world *w, unsigned seconds, struct path_peer *a, struct path_peer *b)
{
    for (unsigned i = 0; i < seconds; i++) {
        if (a) {
            hear(w, a);
        }
        if (b) {
            hear(w, b);
        }
        step(w);
    }
}

static void new_peer_goes_through_the_hub(void **state)
{
    struct world w;

    world_init(&w);
    step(&w);
    assert_true(w.hub.seen.own && w.hub.seen.range);
    assert_int_equal(w.hub.seen.endpoint.address, HUB.address);
    assert_int_equal(w.hub.want.keepalive_sec, 5);
    assert_false(w.peer.seen.own);
    assert_int_equal(w.peer.seen.endpoint.address, PEER.address);
    assert_int_equal(w.peer.want.keepalive_sec, 5);
    assert_true(w.peer.unsettled);
}

static void newcomers_wait_until_they_are_announced(void **state)
{
    struct world w;

    world_init(&w);
    w.path.announced = 0;
    pass(&w, 3, NULL, NULL);
    assert_int_equal(w.hub.seen.endpoint.port, 0);
    assert_int_equal(w.hub.want.keepalive_sec, 0);
    assert_true(w.hub.seen.own);
    w.path.announced = 1;
    path_step(&w.path, w.peers, w.len, w.now);
    assert_int_equal(w.hub.want.endpoint.port, 0);
    assert_int_equal(w.path.due_usec, w.now.usec + 100000);
    w.now.usec = w.path.due_usec;
    path_step(&w.path, w.peers, w.len, w.now);
    assert_int_equal(w.hub.want.endpoint.address, HUB.address);
    assert_int_equal(w.hub.want.keepalive_sec, 5);
    assert_int_equal(w.path.due_usec, 0);
}

static void who_was_there_first_begins(void **state)
{
    struct world w;

    world_init(&w);
    w.len = 1;
    w.path.public = 1;
    pass(&w, 2, &w.hub, NULL);
    w.len = 2; /* the peer comes */
    w.peer.config.second = 1;
    path_step(&w.path, w.peers, w.len, w.now);
    assert_int_equal(w.peer.want.endpoint.address, PEER.address);
}

static void endpoints_are_tried_in_turn(void **state)
{
    struct world w;
    unsigned local = 0, global = 0;

    world_init(&w);
    for (unsigned i = 0; i < 40; i++) {
        pass(&w, 1, &w.hub, NULL);
        local += w.peer.seen.endpoint.address == PEER_LOCAL.address;
        global += w.peer.seen.endpoint.address == PEER.address;
    }
    assert_int_equal(local + global, 40);
    assert_in_range(local, 15, 25);
    assert_false(w.peer.seen.own);
}

static void handshake_makes_it_direct_and_silence_undoes_it(void **state)
{
    struct world w;

    world_init(&w);
    pass(&w, 3, &w.hub, NULL);
    assert_int_equal(w.peer.state, PATH_HUB);
    pass(&w, 1, &w.hub, &w.peer);
    assert_int_equal(w.peer.state, PATH_DIRECT);
    assert_true(w.peer.seen.own);
    pass(&w, 60, &w.hub, &w.peer);
    assert_true(w.peer.seen.own);
    assert_false(w.peer.unsettled);

    pass(&w, 14, &w.hub, NULL);
    assert_true(w.peer.seen.own);
    pass(&w, 2, &w.hub, NULL);
    assert_false(w.peer.seen.own);
    /* The session is forgotten, and we are quiet for longer than the other end is patient. */
    assert_int_equal(w.peer.seen.handshake_sec, 0);
    for (unsigned i = 0; i < 17; i++) {
        assert_int_equal(w.peer.want.keepalive_sec, 0);
        assert_int_equal(w.peer.seen.endpoint.port, 0);
        pass(&w, 1, &w.hub, NULL);
    }
    pass(&w, 5, &w.hub, NULL);
    assert_int_equal(w.peer.want.keepalive_sec, 5);
    assert_int_not_equal(w.peer.seen.endpoint.port, 0);
    pass(&w, 1, &w.hub, &w.peer);
    assert_true(w.peer.seen.own);
}

static void bytes_without_a_session_are_not_enough(void **state)
{
    struct world w;

    world_init(&w);
    pass(&w, 3, &w.hub, NULL);
    /* The other end's handshakes arrive, our answers don't. */
    for (unsigned i = 0; i < 10; i++) {
        w.peer.seen.rx_bytes += 148;
        pass(&w, 1, &w.hub, NULL);
        assert_false(w.peer.seen.own);
    }
}

static void stays_direct_while_the_hub_is_dead(void **state)
{
    struct world w;

    world_init(&w);
    pass(&w, 10, &w.hub, &w.peer);
    pass(&w, 40, NULL, NULL);
    assert_true(w.peer.seen.own);
    assert_true(w.peer.seen.endpoint.port != 0);
    /* Both come back: nothing changes but that they are heard. */
    pass(&w, 20, &w.hub, &w.peer);
    assert_true(w.peer.seen.own);
    assert_false(w.peer.unsettled);
}

static void public_at_both_ends_is_direct_at_once(void **state)
{
    struct world w;

    world_init(&w);
    w.path.public = 1;
    w.peer.config.public = 1;
    step(&w);
    assert_true(w.peer.seen.own);
    assert_int_equal(w.peer.seen.endpoint.address, PEER.address);
    /* But not for ever when nothing comes. */
    pass(&w, 16, &w.hub, NULL);
    assert_false(w.peer.seen.own);
}

static void without_hubs_everything_is_direct(void **state)
{
    struct world w;

    world_init(&w);
    w.peers[0] = &w.peer;
    w.len = 1;
    step(&w);
    assert_true(w.peer.seen.own);
    pass(&w, 60, NULL, NULL);
    assert_true(w.peer.seen.own);
}

static void on_a_hub_every_peer_is_direct(void **state)
{
    struct world w;

    world_init(&w);
    w.path.hub = 1;
    pass(&w, 60, NULL, NULL);
    assert_true(w.peer.seen.own && w.hub.seen.own);
    assert_false(w.peer.seen.range || w.hub.seen.range);
}

static void a_dead_hub_is_replaced_and_taken_back(void **state)
{
    struct world w;

    world_init(&w);
    w.len = 3;
    pass(&w, 20, &w.hub, &w.hub2);
    assert_true(w.hub.seen.range && !w.hub2.seen.range);
    pass(&w, 17, NULL, &w.hub2);
    assert_true(!w.hub.seen.range && w.hub2.seen.range);
    assert_true(w.hub.seen.own); /* always its own */
    pass(&w, 25, &w.hub, &w.hub2);
    assert_true(w.hub2.seen.range);
    pass(&w, 20, &w.hub, &w.hub2);
    assert_true(w.hub.seen.range && !w.hub2.seen.range);
}

static void a_dead_hub_is_tried_with_new_sessions(void **state)
{
    struct world w;
    unsigned renewed = 0;

    world_init(&w);
    pass(&w, 10, &w.hub, NULL);
    for (unsigned i = 0; i < 200; i++) {
        w.hub.seen.handshake_sec = 7;
        pass(&w, 1, NULL, NULL);
        renewed += w.hub.seen.handshake_sec == 0;
    }
    assert_in_range(renewed, 30, 40);
    assert_true(w.hub.seen.own && w.hub.seen.range);
}

static void a_restart_changes_nothing(void **state)
{
    struct world w, before;

    world_init(&w);
    pass(&w, 30, &w.hub, &w.peer);
    before = w;
    world_init(&w);
    w.hub.seen = before.hub.seen;
    w.peer.seen = before.peer.seen;
    w.now = before.now;
    path_step(&w.path, w.peers, w.len, w.now);
    assert_true(w.peer.want.own && w.hub.want.own && w.hub.want.range);
    assert_false(w.peer.want.renew || w.hub.want.renew);
    assert_int_equal(w.peer.want.endpoint.port, 0);
    assert_int_equal(w.hub.want.endpoint.port, 0);
    assert_int_equal(w.peer.want.keepalive_sec, 5);
}

static void a_rebuilt_device_gets_the_last_good_endpoints(void **state)
{
    struct world w;

    world_init(&w);
    pass(&w, 10, &w.hub, &w.peer);
    w.peer.seen.endpoint = (struct ip4_endpoint){0xc0000299, 4242}; /* it roamed */
    pass(&w, 10, &w.hub, &w.peer);
    w.peer.seen = (struct path_seen){0};
    w.hub.seen = (struct path_seen){0};
    step(&w);
    assert_true(w.peer.seen.own);
    assert_int_equal(w.peer.seen.endpoint.port, 4242);
    assert_int_equal(w.hub.seen.endpoint.port, HUB.port);
}

static void a_pause_of_ours_is_not_their_silence(void **state)
{
    struct world w;

    world_init(&w);
    pass(&w, 20, &w.hub, &w.peer);
    w.now.usec += 3600LL * 1000000;
    w.now.wall_sec += 3600;
    step(&w);
    assert_true(w.peer.seen.own && w.hub.seen.range);
}

/* A renewed session starts with the same few bytes each time: they count as heard. */
static void the_same_bytes_of_a_new_session_are_heard(void **state)
{
    struct world w;

    world_init(&w);
    for (unsigned i = 0; i < 30; i++) {
        w.hub.seen.rx_bytes = 92;
        w.hub.seen.handshake_sec = w.now.wall_sec;
        step(&w);
    }
    assert_true(path_alive(&w.hub, w.now));
}

static void both_ends_try_in_the_same_window(void **state)
{
    struct world a, b;
    unsigned tries = 0;

    assert_int_equal(path_pair("Agent.1", "Agent.2"), path_pair("Agent.2", "Agent.1"));
    assert_int_not_equal(path_pair("a", "bc"), path_pair("ab", "c"));
    world_init(&a);
    world_init(&b);
    pass(&b, 7, &b.hub, NULL);
    b.now.wall_sec = a.now.wall_sec;
    pass(&a, 100, &a.hub, NULL);
    pass(&b, 100, &b.hub, NULL);
    for (unsigned i = 0; i < 600; i++) {
        pass(&a, 1, &a.hub, NULL);
        pass(&b, 1, &b.hub, NULL);
        assert_int_equal(a.peer.want.keepalive_sec, b.peer.want.keepalive_sec);
        tries += a.peer.want.keepalive_sec != 0;
    }
    assert_int_equal(tries, 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_peer_goes_through_the_hub),
        cmocka_unit_test(newcomers_wait_until_they_are_announced),
        cmocka_unit_test(who_was_there_first_begins),
        cmocka_unit_test(endpoints_are_tried_in_turn),
        cmocka_unit_test(handshake_makes_it_direct_and_silence_undoes_it),
        cmocka_unit_test(bytes_without_a_session_are_not_enough),
        cmocka_unit_test(stays_direct_while_the_hub_is_dead),
        cmocka_unit_test(public_at_both_ends_is_direct_at_once),
        cmocka_unit_test(without_hubs_everything_is_direct),
        cmocka_unit_test(on_a_hub_every_peer_is_direct),
        cmocka_unit_test(a_dead_hub_is_replaced_and_taken_back),
        cmocka_unit_test(a_dead_hub_is_tried_with_new_sessions),
        cmocka_unit_test(a_restart_changes_nothing),
        cmocka_unit_test(a_rebuilt_device_gets_the_last_good_endpoints),
        cmocka_unit_test(a_pause_of_ours_is_not_their_silence),
        cmocka_unit_test(the_same_bytes_of_a_new_session_are_heard),
        cmocka_unit_test(both_ends_try_in_the_same_window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
