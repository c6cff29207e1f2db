/* fingerprint.c - trust by the fingerprint of a certificate that the server shows. */
#include <ctype.h>
#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#include "cli/client.h"
#include "lib/buf.h"
#include "lib/hash.h"
#include "lib/mem.h"

enum {
    CONNECT_TIMEOUT_SEC = 10,
};

/* 64 lower-case hex digits of "sha256:AB:CD..."; NULL if it isn't one. */
static char *fingerprint_digits(const char *fingerprint)
{
    _cleanup_buf_ struct buf digits = BUF_INIT(SHA256_HEX_SIZE);

    if (strncasecmp(fingerprint, "sha256:", 7) == 0) {
        fingerprint += 7;
    }
    for (; *fingerprint; fingerprint++) {
        char c = (char)tolower((unsigned char)*fingerprint);
        if (c == ':') {
            continue;
        }
        if (!isxdigit((unsigned char)c) || buf_append(&digits, &c, 1) < 0) {
            return NULL;
        }
    }
    return digits.size == SHA256_HEX_SIZE - 1 ? TAKE(digits.data) : NULL;
}

static int pem_matches(const char *pem, const char *digits)
{
    static const char BEGIN[] = "-----BEGIN CERTIFICATE-----", END[] = "-----END";
    _cleanup_buf_ struct buf text = BUF_INIT(65536);
    uint8_t digest[SHA256_SIZE], *der = NULL;
    char hex[SHA256_HEX_SIZE];
    size_t size;

    if (strncmp(pem, BEGIN, strlen(BEGIN)) != 0) {
        return 0;
    }
    for (const char *c = pem + strlen(BEGIN); *c && strncmp(c, END, strlen(END)) != 0; c++) {
        if (!isspace((unsigned char)*c) && buf_append(&text, c, 1) < 0) {
            return 0;
        }
    }
    if (!text.data || base64_decode(text.data, &der, &size) < 0) {
        return 0;
    }
    hash_sha256(der, size, digest);
    free(der);
    hex_encode(digest, sizeof digest, hex);
    return strcmp(hex, digits) == 0;
}

static char *find_certificate(CURL *curl, const char *digits)
{
    static const char LABEL[] = "Cert:";
    struct curl_certinfo *chain = NULL;

    if (curl_easy_getinfo(curl, CURLINFO_CERTINFO, &chain) != CURLE_OK || !chain) {
        return NULL;
    }
    for (int i = 0; i < chain->num_of_certs; i++) {
        for (struct curl_slist *line = chain->certinfo[i]; line; line = line->next) {
            if (strncmp(line->data, LABEL, strlen(LABEL)) == 0 &&
                pem_matches(line->data + strlen(LABEL), digits)) {
                return xstrdup(line->data + strlen(LABEL));
            }
        }
    }
    return NULL;
}

enum exit_code client_fetch_ca(const char *url, const char *fingerprint, char **ret_pem,
                               struct error *error)
{
    _cleanup_free_ char *digits = fingerprint_digits(fingerprint);
    enum exit_code code = CLI_OK;

    if (!digits) {
        error_set(error, 400, NULL, "a fingerprint is sha256: and 64 hexadecimal digits");
        return CLI_USAGE;
    }
    CURL *curl = curl_easy_init();
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_SEC);
    curl_easy_setopt(curl, CURLOPT_CONNECT_ONLY, 1L); /* a handshake and not a word more */
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
    curl_easy_setopt(curl, CURLOPT_CERTINFO, 1L);
    CURLcode rc = curl_easy_perform(curl);
    if (rc != CURLE_OK) {
        error_set(error, 503, NULL, "%s can't be reached: %s", url, curl_easy_strerror(rc));
        code = CLI_UNREACHABLE;
    } else if (!(*ret_pem = find_certificate(curl, digits))) {
        error_set(error, 503, NULL,
                  "%s can't be trusted: no certificate that it shows has this "
                  "fingerprint",
                  url);
        code = CLI_UNREACHABLE;
    }
    curl_easy_cleanup(curl);
    return code;
}
