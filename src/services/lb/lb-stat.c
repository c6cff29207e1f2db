#include "services/lb/lb-stat.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/ip.h"
#include "lib/mem.h"

enum {
    COLUMNS_MAX = 200,
    /* Of the column "type"; a node may be called FRONTEND. */
    ROW_FRONT = 0,
    ROW_SERVER = 2,
    WORDS_MAX = 40,
    /* Of `show servers state`, version 1. */
    WORD_PROXY = 1,
    WORD_SERVER = 3,
    WORD_ADDRESS = 4,
    WORD_ADMIN = 6,
    WORD_PORT = 18,
    ADMIN_OFF = 0x01,
    ADMIN_DRAINED = 0x08,
};

/* --- lines --- */

/* The next line, without its end, and *at after it; NULL at the end. The caller frees it. */
static char *next_line(const char **at)
{
    size_t size = strcspn(*at, "\n");

    if (!**at) {
        return NULL;
    }
    char *line = xstrndup(*at, size);
    *at += size + ((*at)[size] == '\n');
    return line;
}

/* A field of CSV, in place: quotes are taken off. What follows, or NULL after the last. */
static char *cut_field(char *at, char **ret_field)
{
    char *to = at;
    int is_quoted = *at == '"';

    *ret_field = at;
    for (at += is_quoted; *at; at++) {
        if (is_quoted && *at == '"' && at[1] != '"') {
            is_quoted = 0;
        } else if (!is_quoted && *at == ',') {
            *to = '\0';
            return at + 1;
        } else {
            at += *at == '"' && at[1] == '"';
            *to++ = *at;
        }
    }
    *to = '\0';
    return NULL;
}

static size_t split_csv(char *line, char *fields[COLUMNS_MAX])
{
    size_t len = 0;

    for (char *at = line; at && len < COLUMNS_MAX; len++) {
        at = cut_field(at, &fields[len]);
    }
    return len;
}

static size_t split_words(char *line, char *words[WORDS_MAX])
{
    size_t len = 0;

    for (char *save = NULL, *word = strtok_r(line, " ", &save); word && len < WORDS_MAX;
         word = strtok_r(NULL, " ", &save)) {
        words[len++] = word;
    }
    return len;
}

/* --- what is ours --- */

/* "<service>:<port>-<hash>": the port, or 0 for any other name. */
static uint16_t parse_name(const char *name, char ret_service[LB_NAME_SIZE])
{
    const char *colon = strrchr(name, ':');
    size_t size = colon ? (size_t)(colon - name) : 0;
    char *dash;

    if (size == 0 || size >= LB_NAME_SIZE || strlen(name) >= LB_PROXY_SIZE) {
        return 0;
    }
    unsigned long port = strtoul(colon + 1, &dash, 10);
    if (port > UINT16_MAX || *dash != '-' || strlen(dash + 1) != LB_HASH_SIZE - 1) {
        return 0;
    }
    memcpy(ret_service, name, size);
    ret_service[size] = '\0';
    return (uint16_t)port;
}

static struct lb_proxy *proxy_get(struct lb_stat *stat, const char *name)
{
    char service[LB_NAME_SIZE];
    uint16_t port = parse_name(name, service);

    if (port == 0) {
        return NULL;
    }
    struct lb_proxy *proxy = omap_get(&stat->proxies, service);
    if (!proxy) {
        proxy = xnew(struct lb_proxy);
        snprintf(proxy->service, sizeof proxy->service, "%s", service);
        snprintf(proxy->name, sizeof proxy->name, "%s", name);
        proxy->port = port;
        omap_put(&stat->proxies, service, proxy);
    }
    return strcmp(proxy->name, name) == 0 ? proxy : NULL;
}

static struct lb_server *server_get(struct lb_proxy *proxy, const char *node)
{
    struct lb_server *server = omap_get(&proxy->servers, node);

    if (!server) {
        server = xnew(struct lb_server);
        omap_put(&proxy->servers, node, server);
    }
    return server;
}

/* --- show stat --- */

enum column {
    PROXY,
    SERVER,
    ROW,
    CURRENT,
    TOTAL,
    BYTES_IN,
    BYTES_OUT,
    STATUS,
    RATE,
    CHECK,
    LAST_CHECK,
    COLUMNS,
};

struct table {
    size_t at[COLUMNS]; /* where the column is */
    char *fields[COLUMNS_MAX];
    size_t len;
};

static int read_header(struct table *table)
{
    static const char *const NAMES[COLUMNS] = {"# pxname", "svname",       "type",    "scur",
                                               "stot",     "bin",          "bout",    "status",
                                               "rate",     "check_status", "last_chk"};

    for (size_t i = 0; i < COLUMNS; i++) {
        size_t at = 0;
        while (at < table->len && strcmp(table->fields[at], NAMES[i]) != 0) {
            at++;
        }
        if (at == table->len) {
            return -EINVAL;
        }
        table->at[i] = at;
    }
    return 0;
}

static const char *text_of(const struct table *table, enum column column)
{
    return table->at[column] < table->len ? table->fields[table->at[column]] : "";
}

static uint64_t number_of(const struct table *table, enum column column)
{
    return strtoull(text_of(table, column), NULL, 10);
}

static void take_server(struct lb_proxy *proxy, const struct table *table)
{
    struct lb_server *server = server_get(proxy, text_of(table, SERVER));
    const char *words = text_of(table, LAST_CHECK);

    snprintf(server->state, sizeof server->state, "%.23s", text_of(table, STATUS));
    snprintf(server->why, sizeof server->why, "%.70s", *words ? words : text_of(table, CHECK));
    server->current = number_of(table, CURRENT);
    server->total = number_of(table, TOTAL);
    server->rate = number_of(table, RATE);
}

static void take_row(struct lb_stat *stat, const struct table *table)
{
    struct lb_proxy *proxy = proxy_get(stat, text_of(table, PROXY));
    uint64_t row = number_of(table, ROW);

    if (proxy && row == ROW_SERVER && *text_of(table, SERVER)) {
        take_server(proxy, table);
    }
    if (!proxy || row != ROW_FRONT) {
        return;
    }
    proxy->current = number_of(table, CURRENT);
    proxy->total = number_of(table, TOTAL);
    proxy->rate = number_of(table, RATE);
    proxy->bytes = number_of(table, BYTES_IN) + number_of(table, BYTES_OUT);
}

static int parse_table(struct lb_stat *stat, const char **at)
{
    struct table table = {.len = 0};
    int has_header = 0;
    int rc = 0;

    for (char *line; rc == 0 && (line = next_line(at));) {
        if (!*line) {
            free(line);
            return has_header ? 0 : -EINVAL;
        }
        table.len = split_csv(line, table.fields);
        if (has_header) {
            take_row(stat, &table);
        } else {
            rc = read_header(&table);
            has_header = 1;
        }
        free(line);
    }
    return -EINVAL;
}

/* --- show servers state --- */

static void take_state(struct lb_stat *stat, char *words[WORDS_MAX])
{
    char service[LB_NAME_SIZE];

    if (parse_name(words[WORD_PROXY], service) == 0) {
        return;
    }
    struct lb_proxy *proxy = omap_get(&stat->proxies, service);
    struct lb_server *server = proxy && strcmp(proxy->name, words[WORD_PROXY]) == 0
                                   ? omap_get(&proxy->servers, words[WORD_SERVER])
                                   : NULL;
    if (!server) {
        return;
    }
    unsigned admin = (unsigned)strtoul(words[WORD_ADMIN], NULL, 10);
    ip4_parse(words[WORD_ADDRESS], &server->address);
    server->port = (uint16_t)strtoul(words[WORD_PORT], NULL, 10);
    server->is_drained = (admin & ADMIN_DRAINED) != 0;
    server->is_off = (admin & ADMIN_OFF) != 0;
}

static int parse_servers(struct lb_stat *stat, const char *at)
{
    char *words[WORDS_MAX];
    char *line = next_line(&at);
    int is_known = line && strcmp(line, "1") == 0;

    free(line);
    while (is_known && (line = next_line(&at))) {
        if (*line != '#' && split_words(line, words) > WORD_PORT) {
            take_state(stat, words);
        }
        free(line);
    }
    return is_known ? 0 : -EINVAL;
}

/* --- both --- */

static void free_proxy(void *value)
{
    struct lb_proxy *proxy = value;

    omap_clear(&proxy->servers, free);
    free(proxy);
}

void lb_stat_done(struct lb_stat *stat)
{
    omap_clear(&stat->proxies, free_proxy);
    free(stat->servers_text);
    *stat = (struct lb_stat){0};
}

int lb_stat_parse(const char *text, struct lb_stat *ret_stat)
{
    struct lb_stat stat = {0};
    const char *at = text;
    int rc = parse_table(&stat, &at);

    at += strspn(at, "\n");
    if (rc == 0) {
        stat.servers_text = xstrdup(at);
        rc = parse_servers(&stat, at);
    }
    if (rc < 0) {
        lb_stat_done(&stat);
        return rc;
    }
    *ret_stat = stat;
    return 0;
}

char *lb_stat_renamed(const char *servers_text, lb_rename_fn *new_name, void *arg)
{
    struct buf out = BUF_INIT(LB_STAT_MAX);
    char service[LB_NAME_SIZE], name[LB_PROXY_SIZE];
    int from, to;

    for (char *line; (line = next_line(&servers_text));) {
        from = to = 0;
        if (*line == '#' || strcmp(line, "1") == 0) {
            buf_printf(&out, "%s\n", line);
        } else if (sscanf(line, "%*s %n%82s%n", &from, name, &to) == 1 &&
                   parse_name(name, service) > 0 && new_name(arg, service)) {
            buf_printf(&out, "%.*s%s%s\n", from, line, new_name(arg, service), line + to);
        }
        free(line);
    }
    return out.data ? out.data : xstrdup("");
}
