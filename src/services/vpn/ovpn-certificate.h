/* ovpn-certificate.h - which certificate a daemon has, and when it must have another.
 *
 * openvpn reads its certificate when it starts (a spoke: whenever it connects anew), and a server
 * that is started again cuts everybody off for seconds. So a renewed certificate alone is no
 * reason: only when the one that was loaded has less than a week left. Until when that one is good
 * stands in the daemon's configuration, so that it is known after a restart of ours. */
#pragma once

#include <stdint.h>

#include "lib/buf.h"

/* Adds the line to a configuration. */
void ovpn_certificate_add(struct buf *text, int64_t until_sec);

/* What stands in a configuration; 0: nothing. */
int64_t ovpn_certificate_loaded(const char *text);
/* The same of a file. */
int64_t ovpn_certificate_loaded_in(const char *path);

/* The end of the first certificate in a PEM file, in seconds since 1970; 0: can't be read. */
int64_t ovpn_certificate_end(const char *path);

/* The end that the daemon's certificate shall have: that of the one on disk, if that is newer and
 * the loaded one hasn't a week left; else the loaded one's. 0: nothing is loaded. */
int64_t ovpn_certificate_choose(int64_t loaded_sec, int64_t on_disk_sec, int64_t now_sec);
