#include "lib/qr.h"

#include <errno.h>
#include <qrencode.h>
#include <string.h>

enum {
    MARGIN = 4, /* modules, ISO/IEC 18004 section 6.3.8 */
};

static int encode(const char *text, QRcode **ret_code)
{
    size_t size = strlen(text);

    if (size > QR_TEXT_MAX) {
        return -E2BIG;
    }
    *ret_code = QRcode_encodeData((int)size, (const unsigned char *)text, 0, QR_ECLEVEL_L);
    return *ret_code ? 0 : -errno;
}

static int is_dark(const QRcode *code, int x, int y)
{
    return x >= 0 && y >= 0 && x < code->width && y < code->width &&
           (code->data[y * code->width + x] & 1);
}

static int draw_svg(const QRcode *code, struct buf *out)
{
    int width = code->width + 2 * MARGIN;
    int rc = buf_printf(out,
                        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" "
                        "width=\"%d\" height=\"%d\" shape-rendering=\"crispEdges\">"
                        "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/><path d=\"",
                        width, width, 6 * width, 6 * width, width, width);

    for (int y = 0; y < code->width; y++) {
        for (int x = 0; x < code->width; x++) {
            int run = 0;
            while (is_dark(code, x + run, y)) {
                run++;
            }
            if (run > 0 && rc == 0) {
                rc = buf_printf(out, "M%d %dh%dv1h-%dz", x + MARGIN, y + MARGIN, run, run);
            }
            x += run; /* the one after the run is light */
        }
    }
    return rc < 0 ? rc : buf_printf(out, "\" fill=\"#000\"/></svg>\n");
}

static int draw_terminal(const QRcode *code, int colored, struct buf *out)
{
    static const char *const BLOCKS[2][2] = {{"\u2588", "\u2580"}, {"\u2584", " "}};
    int rc = 0;

    for (int y = -MARGIN; y < code->width + MARGIN && rc == 0; y += 2) {
        rc = buf_printf(out, "%s", colored ? "\033[97;40m" : "");
        for (int x = -MARGIN; x < code->width + MARGIN && rc == 0; x++) {
            rc = buf_printf(out, "%s", BLOCKS[is_dark(code, x, y)][is_dark(code, x, y + 1)]);
        }
        rc = rc < 0 ? rc : buf_printf(out, "%s\n", colored ? "\033[0m" : "");
    }
    return rc;
}

int qr_svg(const char *text, struct buf *out)
{
    QRcode *code;
    int rc = encode(text, &code);

    if (rc == 0) {
        rc = draw_svg(code, out);
        QRcode_free(code);
    }
    return rc;
}

int qr_terminal(const char *text, int colored, struct buf *out)
{
    QRcode *code;
    int rc = encode(text, &code);

    if (rc == 0) {
        rc = draw_terminal(code, colored, out);
        QRcode_free(code);
    }
    return rc;
}
