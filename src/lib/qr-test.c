/* qr-test.c - both drawings show the same code, and texts that are too long are refused. That a
 * reader reads them is tested with the API (tests/api/test_vpn_clients.py). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/mem.h"
#include "lib/qr.h"

enum {
    SIDE_MAX = 200,
};

struct picture {
    int side;
    char dark[SIDE_MAX][SIDE_MAX];
};

static void read_svg(const char *text, struct picture *picture)
{
    int x, y, run;
    const char *c = strstr(text, "viewBox=\"0 0 ");

    assert_non_null(c);
    picture->side = atoi(c + strlen("viewBox=\"0 0 "));
    assert_in_range(picture->side, 21 + 8, SIDE_MAX);
    for (c = strchr(text, 'M'); c; c = strchr(c + 1, 'M')) {
        assert_int_equal(sscanf(c, "M%d %dh%d", &x, &y, &run), 3);
        assert_true(x >= 4 && y >= 4 && x + run <= picture->side - 4 && y < picture->side - 4);
        memset(&picture->dark[y][x], 1, (size_t)run);
    }
}

static void read_terminal(const char *text, struct picture *picture)
{
    int x = 0, y = 0;

    while (*text) {
        int size = 1, upper = 1, lower = 1;
        if (*text == '\n') {
            picture->side = x;
            x = 0;
            y += 2;
        } else {
            if (*text != ' ') {
                size = 3;
                upper = memcmp(text, "\u2584", 3) == 0;
                lower = memcmp(text, "\u2580", 3) == 0;
            }
            assert_true(x < SIDE_MAX && y + 1 < SIDE_MAX);
            picture->dark[y][x] = (char)upper;
            picture->dark[y + 1][x] = (char)lower;
            x++;
        }
        text += size;
    }
}

static void both_drawings_are_the_same(void **state)
{
    static const char *const TEXTS[] = {"a", "[Interface]\nPrivateKey = abc\n",
                                        "a longer text that needs another version of the code, "
                                        "with \xc3\xa4 in it; and some more, and some more of it"};

    for (size_t i = 0; i < ARRAY_LEN(TEXTS); i++) {
        struct buf svg = BUF_INIT(QR_DRAWING_MAX), terminal = BUF_INIT(QR_DRAWING_MAX);
        struct picture *a = xnew(struct picture), *b = xnew(struct picture);
        assert_int_equal(qr_svg(TEXTS[i], &svg), 0);
        assert_int_equal(qr_terminal(TEXTS[i], 0, &terminal), 0);
        read_svg(svg.data, a);
        read_terminal(terminal.data, b);
        assert_int_equal(a->side, b->side);
        assert_memory_equal(a->dark, b->dark, sizeof a->dark);
        assert_true(a->dark[4][4] && a->dark[4][10] && !a->dark[5][5]); /* a finder's corner */
        buf_done(&svg);
        buf_done(&terminal);
        free(a);
        free(b);
    }
}

static void what_is_too_long_is_refused(void **state)
{
    struct buf out = BUF_INIT(QR_DRAWING_MAX), small = BUF_INIT(200);
    char text[QR_TEXT_MAX + 2];

    memset(text, 'a', sizeof text);
    text[QR_TEXT_MAX + 1] = '\0';
    assert_int_equal(qr_svg(text, &out), -E2BIG);
    assert_int_equal(qr_terminal(text, 1, &out), -E2BIG);
    assert_int_equal(out.size, 0);
    text[QR_TEXT_MAX] = '\0';
    assert_int_equal(qr_svg(text, &out), 0);
    assert_int_equal(qr_terminal(text, 1, &out), 0);
    assert_int_equal(qr_svg("a", &small), -E2BIG);
    buf_done(&out);
    buf_done(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_drawings_are_the_same),
        cmocka_unit_test(what_is_too_long_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
