#include "services/vpn/ovpn-certificate.h"

#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>

#include "lib/file.h"

enum {
    FILE_SIZE_MAX = 1 << 20,
    CHAIN_MAX = 8,
    RENEW_SEC = 7 * 86400,
};

#define LOADED_UNTIL "setenv CNSMO_CERTIFICATE_UNTIL "

void ovpn_certificate_add(struct buf *text, int64_t until_sec)
{
    buf_printf(text, LOADED_UNTIL "%lld\n", (long long)until_sec);
}

int64_t ovpn_certificate_loaded(const char *text)
{
    const char *line = strstr(text, "\n" LOADED_UNTIL);

    return line ? strtoll(line + strlen("\n" LOADED_UNTIL), NULL, 10) : 0;
}

int64_t ovpn_certificate_loaded_in(const char *path)
{
    _cleanup_buf_ struct buf text = BUF_INIT(FILE_SIZE_MAX);

    return file_read(path, &text) == 0 && text.data ? ovpn_certificate_loaded(text.data) : 0;
}

int64_t ovpn_certificate_end(const char *path)
{
    _cleanup_buf_ struct buf text = BUF_INIT(FILE_SIZE_MAX);
    gnutls_x509_crt_t chain[CHAIN_MAX];
    unsigned len = CHAIN_MAX;

    if (file_read(path, &text) < 0 || !text.data) {
        return 0;
    }
    gnutls_datum_t pem = {(unsigned char *)text.data, (unsigned)text.size};
    if (gnutls_x509_crt_list_import(chain, &len, &pem, GNUTLS_X509_FMT_PEM, 0) < 0 || len == 0) {
        return 0;
    }
    int64_t end = (int64_t)gnutls_x509_crt_get_expiration_time(chain[0]);
    for (unsigned i = 0; i < len; i++) {
        gnutls_x509_crt_deinit(chain[i]);
    }
    return end;
}

int64_t ovpn_certificate_choose(int64_t loaded_sec, int64_t on_disk_sec, int64_t now_sec)
{
    int renew = on_disk_sec > loaded_sec && loaded_sec - now_sec < RENEW_SEC;

    return loaded_sec == 0 || renew ? on_disk_sec : loaded_sec;
}
