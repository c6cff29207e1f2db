/* vpn.c - what VPN clients and nodes' tunnel keys have beside the verbs of every kind. */
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "lib/qr.h"

enum {
    FILE_MAX = 1 << 20,
};

struct collecting {
    struct buf text;
    int rc;
};

static int take(void *arg, const char *data, size_t size)
{
    struct collecting *c = arg;

    c->rc = buf_append(&c->text, data, size);
    return c->rc;
}

/* One of a client's files. Wipe it. */
static enum exit_code fetch(struct cli *cli, const char *id, const char *file, struct buf *text)
{
    _cleanup_free_ char *object = object_path("vpn/clients", id);
    _cleanup_free_ char *path = xasprintf("%s/%s", object, file);
    struct collecting c = {.text = BUF_INIT(FILE_MAX)};
    struct error error = {0};
    enum exit_code code = cli_connect(cli);

    if (code == CLI_OK) {
        code = client_stream(cli->client, path, take, &c, &error);
        code = code != CLI_OK ? cli_fail(cli, code, &error)
               : c.rc < 0     ? cli_say(CLI_REFUSED, "the server's answer is too long")
                              : CLI_OK;
    }
    *text = c.text;
    return code;
}

static void wipe(struct buf *text)
{
    if (text->data) {
        mem_wipe(text->data, text->size);
    }
    buf_done(text);
}

static int use_color(const struct cli *cli)
{
    return cli->color && isatty(STDOUT_FILENO);
}

/* Replaces a WireGuard configuration by its QR code, as it is drawn on a terminal. */
static enum exit_code draw(const struct cli *cli, struct buf *text)
{
    struct buf drawing = BUF_INIT(QR_DRAWING_MAX);

    if (!text->data || qr_terminal(text->data, use_color(cli), &drawing) < 0) {
        buf_done(&drawing);
        return cli_say(CLI_REFUSED, "the configuration doesn't fit into a QR code");
    }
    wipe(text);
    *text = drawing;
    return CLI_OK;
}

/* The QR code is drawn here, but whether it is of use is the server's to say. */
static enum exit_code fetch_drawing(struct cli *cli, const char *id, struct buf *text)
{
    enum exit_code code = fetch(cli, id, "qr", text);

    if (code == CLI_OK) {
        wipe(text);
        code = fetch(cli, id, "wireguard", text);
    }
    return code == CLI_OK ? draw(cli, text) : code;
}

static enum exit_code fill(void *arg, int fd)
{
    const struct buf *text = arg;
    int rc = cli_write_all(fd, text->data, text->size);

    return rc < 0 ? cli_say(CLI_REFUSED, "cannot write: %s", strerror(-rc)) : CLI_OK;
}

/* --- vpn client add --- */

int run_client_add(struct cli *cli)
{
    const char *id = cli->args.arguments[0];
    int code = run_add(cli);
    struct buf text;

    if ((code != CLI_OK && code != CLI_WAITED) || args_given(&cli->args, "dry-run")) {
        return code;
    }
    if (!args_given(&cli->args, "qr")) {
        fprintf(stderr,
                "For OpenVPN: cnsmo vpn client config %s --file %s.ovpn\n"
                "For WireGuard: the same with --format wireguard, or --format qr for a phone\n",
                id, id);
        return code;
    }
    enum exit_code drawn = fetch_drawing(cli, id, &text);
    if (drawn == CLI_OK) {
        drawn = cli_write_file("-", fill, &text);
    }
    wipe(&text);
    return drawn == CLI_OK ? code : (int)drawn;
}

/* --- vpn client config --- */

static const char FORMATS[] = "ovpn|config|key|cert|ca|wireguard|qr";

static int is_format(const char *name)
{
    size_t size = strlen(name);

    for (const char *at = FORMATS; at; at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL) {
        if (strcspn(at, "|") == size && strncmp(at, name, size) == 0) {
            return 1;
        }
    }
    return 0;
}

int run_client_config(struct cli *cli)
{
    const char *id = cli->args.arguments[0];
    const char *format = args_value(&cli->args, "format", "ovpn");
    const char *path = args_value(&cli->args, "file", "-");
    int is_drawn = strcmp(format, "qr") == 0 && strcmp(path, "-") == 0;
    struct buf text = {0};

    if (!is_format(format)) {
        return cli_say(CLI_USAGE, "--format takes %s, not \"%s\"", FORMATS, format);
    }
    enum exit_code code = is_drawn ? fetch_drawing(cli, id, &text) : fetch(cli, id, format, &text);
    if (code == CLI_OK) {
        code = cli_write_file(path, fill, &text);
    }
    wipe(&text);
    return code;
}

/* --- vpn client renew --- */

int run_client_renew(struct cli *cli)
{
    const char *id = cli->args.arguments[0];
    _cleanup_free_ char *object = object_path("vpn/clients", id);
    _cleanup_free_ char *path = xasprintf("%s/renew", object);
    enum exit_code code = cli_write(cli, "POST", path, NULL);

    if ((code == CLI_OK || code == CLI_WAITED) && !args_given(&cli->args, "dry-run")) {
        fprintf(stderr,
                "Its old files are of no use any more; the new ones: cnsmo vpn client "
                "config %s\n",
                id);
    }
    return code;
}

/* --- node rotate --- */

int run_rotate(struct cli *cli)
{
    _cleanup_free_ char *path = object_path("nodes", cli->args.arguments[0]);
    struct response response;
    enum exit_code code = cli_call(cli, "GET", path, NULL, 0, &response);

    if (code == CLI_OK) {
        json_int_t generation =
            json_get_integer(json_object_get(response.body, "spec"), "keyGeneration", 0);
        json_t *body = json_pack("{s:{s:I}}", "spec", "keyGeneration", generation + 1);
        code = cli_write(cli, "PATCH", path, body);
        json_decref(body);
    }
    response_done(&response);
    return code;
}
