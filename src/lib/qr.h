/* qr.h - a text as a QR code (ISO/IEC 18004), drawn on a terminal or as a picture.
 *
 * Both drawings have the margin that readers need. Not part of the library that the daemons link:
 * a program that draws links qr_dep. */
#pragma once

#include "lib/buf.h"

enum {
    QR_TEXT_MAX = 2000, /* bytes; a WireGuard configuration has some 300 */
    QR_DRAWING_MAX = 256 << 10,
};

/* Appends an SVG document. -E2BIG: the text is too long for a code, or the drawing for `out`. */
int qr_svg(const char *text, struct buf *out);

/* Appends lines of UTF-8 half blocks, two rows of the code each. With `colored`, white on black
 * whatever the terminal's colours are; else the blocks are what the terminal shows bright. */
int qr_terminal(const char *text, int colored, struct buf *out);
