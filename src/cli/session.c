/* session.c - login, logout, and the password of a user. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "lib/buf.h"
#include "lib/file.h"
#include "lib/json.h"
#include "lib/mem.h"

enum {
    CA_MAX = 1 << 20,
};

static const char URL_DEFAULT[] = "https://localhost:8443";

/* The URL to log in at: the argument, else what is configured, else this machine. */
static enum exit_code choose_url(struct cli *cli)
{
    struct error error;
    char *url = NULL;

    if (cli->args.arguments_len > 0) {
        if (url_normalise(cli->args.arguments[0], &url, &error) < 0) {
            return cli_say(CLI_USAGE, "%s", error.detail);
        }
    } else if (!cli->config.url) {
        url = xstrdup(URL_DEFAULT);
    }
    if (url) {
        /* What was stored for another server isn't trusted for this one. */
        if (cli->config.ca && cli->config.stored_url && strcmp(url, cli->config.stored_url) != 0 &&
            !args_given(&cli->args, "ca") && !getenv("CNSMO_CA")) {
            free(TAKE(cli->config.ca));
        }
        free(cli->config.url);
        cli->config.url = url;
    }
    return CLI_OK;
}

/* The certificate to trust and to keep, as PEM; NULL: the system's authorities. */
static enum exit_code choose_ca(struct cli *cli, char **ret_pem)
{
    const char *fingerprint = args_value(&cli->args, "fingerprint", NULL);
    _cleanup_buf_ struct buf pem = BUF_INIT(CA_MAX);
    struct error error = {0};

    if (fingerprint) {
        enum exit_code code = client_fetch_ca(cli->config.url, fingerprint, ret_pem, &error);
        return code == CLI_OK ? code : cli_fail(cli, code, &error);
    }
    if (!cli->config.ca) {
        return CLI_OK;
    }
    int rc = file_read(cli->config.ca, &pem);
    if (rc < 0) {
        return cli_say(CLI_USAGE, "cannot read the certificate %s: %s", cli->config.ca,
                       strerror(-rc));
    }
    *ret_pem = xstrdup(pem.data ? pem.data : "");
    return CLI_OK;
}

/* libcurl takes the authority from a file: a temporary one, so that nothing is stored unless the
 * login succeeds. */
static int write_temporary(const char *pem, char *path)
{
    _cleanup_close_ int fd = mkstemp(path);
    size_t size = strlen(pem);

    return fd >= 0 && write(fd, pem, size) == (ssize_t)size ? 0 : -1;
}

static enum exit_code open_and_store(struct cli *cli, const char *user, const char *password,
                                     const char *ca_pem)
{
    char path[] = "/tmp/cnsmo-ca.XXXXXX";
    struct error error = {0};
    json_t *session = NULL;
    struct config config = {.url = cli->config.url, .ca = ca_pem ? path : NULL};

    if (ca_pem && write_temporary(ca_pem, path) < 0) {
        return cli_say(CLI_REFUSED, "cannot write %s", path);
    }
    struct client *client = client_new(&config);
    enum exit_code code = client_login(client, user, password, &session, &error);
    client_free(client);
    if (ca_pem) {
        unlink(path);
    }
    if (code != CLI_OK) {
        return cli_say(code, "%s", error.detail);
    }
    if (config_store(&cli->config, user, json_get_string(session, "token", ""),
                     json_get_string(session, "expires", NULL), ca_pem, &error) < 0) {
        code = cli_say(CLI_REFUSED, "%s", error.detail);
    } else {
        fprintf(stderr, "Logged in at %s as %s (%s).\n", cli->config.url, user,
                json_get_string(session, "role", "?"));
        if (getenv("CNSMO_TOKEN")) {
            fputs("CNSMO_TOKEN is set: it goes before this session.\n", stderr);
        }
    }
    json_decref(session);
    return code;
}

int run_login(struct cli *cli)
{
    const char *user = args_value(&cli->args, "user", cli->config.user);
    char *password = NULL;
    _cleanup_free_ char *ca_pem = NULL;
    enum exit_code code = choose_url(cli);

    user = user ? user : "admin";
    if (code == CLI_OK) {
        code = choose_ca(cli, &ca_pem);
    }
    if (code != CLI_OK) {
        return code;
    }
    if (cli->config.password && !args_given(&cli->args, "password-file")) {
        password = xstrdup(cli->config.password);
    } else {
        _cleanup_free_ char *question = xasprintf("Password of %s at %s: ", user, cli->config.url);
        code = ask_password(cli, question, 0, &password);
    }
    if (code == CLI_OK) {
        code = open_and_store(cli, user, password, ca_pem);
    }
    free_secret(password);
    return code;
}

/* The session ends on the server too, if that can be reached; here it ends in any case. */
static void end_session(const struct config *config)
{
    struct error error = {0};
    struct response response = {0};
    struct client *client = client_new(config);

    if (client_call(client, "DELETE", API "/session", NULL, 0, &response, &error) ==
        CLI_UNREACHABLE) {
        cli_say(CLI_OK, "the session stays open on the server until it expires: %s", error.detail);
    }
    response_done(&response);
    client_free(client);
}

int run_logout(struct cli *cli)
{
    static const char *const VARIABLES[] = {"CNSMO_URL", "CNSMO_CA", "CNSMO_TOKEN", "CNSMO_USER",
                                            "CNSMO_PASSWORD"};
    struct error error = {0};
    struct config stored;

    /* It is about the stored session, whatever the environment or options say. */
    for (size_t i = 0; i < ARRAY_LEN(VARIABLES); i++) {
        unsetenv(VARIABLES[i]);
    }
    int rc = config_load(&stored, NULL, NULL, &error);
    if (rc == 0 && stored.token) {
        end_session(&stored);
    } else if (!stored.problem) {
        cli_say(CLI_OK, "not logged in");
    }
    rc = config_forget(&stored, &error); /* a damaged one too */
    config_done(&stored);
    return rc < 0 ? cli_say(CLI_REFUSED, "%s", error.detail) : CLI_OK;
}

int run_passwd(struct cli *cli)
{
    const char *user = cli->args.arguments_len > 0 ? cli->args.arguments[0] : cli->config.user;
    struct response response;
    char *password = NULL;

    if (!user) {
        return cli_say(CLI_USAGE, "whose password? cnsmo user passwd ID");
    }
    _cleanup_free_ char *question = xasprintf("New password of %s: ", user);
    enum exit_code code = ask_password(cli, question, 1, &password);
    if (code != CLI_OK) {
        return code;
    }
    json_t *body = json_pack("{s:{s:s}}", "spec", "password", password);
    free_secret(password);
    if (!body) {
        return cli_say(CLI_USAGE, "the password is not valid UTF-8");
    }
    _cleanup_free_ char *path = object_path("users", user);
    code = cli_call(cli, "PATCH", path, body, 0, &response);
    json_decref(body);
    response_done(&response);
    return code;
}
