/* api-page.c - the OpenAPI document as a page to read: plain HTML and one style sheet of our own,
 * so that the strictest Content-Security-Policy holds. */
#include <stdio.h>
#include <string.h>

#include "lib/buf.h"
#include "server/api-internal.h"

enum {
    PAGE_MAX = 4 << 20,
};

static const char STYLE[] =
    "body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;"
    "color:#1b1f24;background:#fff}"
    "h1{font-size:1.8rem}h2{margin-top:2.5rem;border-bottom:1px solid #d0d7de}"
    "h3{font:600 1rem ui-monospace,monospace;margin:1.6rem 0 .3rem}"
    "h3 b{display:inline-block;min-width:4.5rem;color:#0550ae}"
    "table{border-collapse:collapse;width:100%;margin:.5rem 0}"
    "td,th{text-align:left;vertical-align:top;padding:.25rem .6rem;border:1px solid #d0d7de}"
    "th{background:#f6f8fa}pre{background:#f6f8fa;padding:.6rem;overflow:auto}"
    "code,pre{font:14px ui-monospace,monospace}"
    "@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}"
    "th,pre{background:#161b22}td,th,h2{border-color:#30363d}h3 b{color:#79c0ff}}";

static void text(struct buf *page, const char *value)
{
    for (const char *c = value; c && *c; c++) {
        switch (*c) {
        case '<':
            buf_append(page, "&lt;", 4);
            break;
        case '>':
            buf_append(page, "&gt;", 4);
            break;
        case '&':
            buf_append(page, "&amp;", 5);
            break;
        case '"':
            buf_append(page, "&quot;", 6);
            break;
        default:
            buf_append(page, c, 1);
        }
    }
}

static void element(struct buf *page, const char *name, const char *value)
{
    buf_printf(page, "<%s>", name);
    text(page, value);
    buf_printf(page, "</%s>", name);
}

static void json_text(struct buf *page, const json_t *value, size_t flags)
{
    char *dumped = value ? json_dumps(value, flags | JSON_ENCODE_ANY) : NULL;

    text(page, dumped);
    free(dumped);
}

static const json_t *resolve(const json_t *document, const json_t *schema)
{
    const char *reference = json_get_string(schema, "$ref", NULL);

    if (!reference) {
        return schema;
    }
    const json_t *schemas = json_object_get(json_object_get(document, "components"), "schemas");
    return json_object_get(schemas, strrchr(reference, '/') + 1);
}

/* One line for each field of a schema. */
static void fields(struct buf *page, const json_t *schema)
{
    const char *name;
    json_t *property;

    buf_printf(page, "<table><tr><th>field<th>type<th>meaning<th>default</tr>");
    json_object_foreach (json_object_get(schema, "properties"), name, property) {
        const json_t *type = json_object_get(property, "type");
        const json_t *words = json_object_get(property, "enum");
        buf_printf(page, "<tr><td><code>");
        text(page, name);
        buf_printf(page, "</code>%s<td>",
                   json_array_has(json_object_get(schema, "required"), name) ? " *" : "");
        if (json_is_string(type)) {
            text(page, json_string_value(type));
        }
        text(page, json_get_string(property, "format", NULL) ? ", " : "");
        text(page, json_get_string(property, "format", ""));
        buf_printf(page, "<td>");
        text(page, json_get_string(property, "description", ""));
        if (words) {
            buf_printf(page, " <code>");
            json_text(page, words, JSON_COMPACT);
            buf_printf(page, "</code>");
        }
        buf_printf(page, "<td>");
        json_text(page, json_object_get(property, "default"), JSON_COMPACT);
        buf_printf(page, "</tr>\n");
    }
    buf_printf(page, "</table>\n");
}

static void parameters(struct buf *page, const json_t *list)
{
    size_t i;
    json_t *parameter;

    if (json_array_size(list) == 0) {
        return;
    }
    buf_printf(page, "<table><tr><th>parameter<th>in<th>meaning</tr>");
    json_array_foreach ((json_t *)list, i, parameter) {
        buf_printf(page, "<tr><td><code>");
        text(page, json_get_string(parameter, "name", ""));
        buf_printf(page, "</code><td>%s<td>", json_get_string(parameter, "in", ""));
        text(page, json_get_string(parameter, "description", ""));
        buf_printf(page, "</tr>\n");
    }
    buf_printf(page, "</table>\n");
}

static void body(struct buf *page, const json_t *request)
{
    const char *type;
    json_t *media;

    json_object_foreach (json_object_get(request, "content"), type, media) {
        buf_printf(page, "<p>Body: <code>%s</code></p><pre>", type);
        json_text(page, json_object_get(media, "example"), JSON_INDENT(2));
        buf_printf(page, "</pre>\n");
    }
}

static void operation(struct buf *page, const char *path, const char *method, const json_t *op)
{
    const char *status;
    json_t *response;
    char upper[8] = "";

    for (size_t i = 0; method[i] && i + 1 < sizeof upper; i++) {
        upper[i] = (char)(method[i] - 'a' + 'A');
    }
    buf_printf(page, "<h3><b>%s</b> ", upper);
    text(page, path);
    buf_printf(page, "</h3>\n");
    element(page, "p", json_get_string(op, "summary", ""));
    element(page, "p", json_get_string(op, "description", ""));
    parameters(page, json_object_get(op, "parameters"));
    body(page, json_object_get(op, "requestBody"));
    buf_printf(page, "<p>");
    json_object_foreach (json_object_get(op, "responses"), status, response) {
        buf_printf(page, "<code>%s</code> ", status);
        text(page, json_get_string(response, "description", ""));
        buf_printf(page, " ");
    }
    buf_printf(page, "</p>\n");
}

static void fill(struct buf *page, const json_t *document)
{
    const json_t *info = json_object_get(document, "info");
    const json_t *schemas = json_object_get(json_object_get(document, "components"), "schemas");
    const char *path, *method, *name;
    json_t *operations, *op, *schema;

    buf_printf(page, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                     "<meta name=\"viewport\" content=\"width=device-width\">"
                     "<title>CNSMO API</title><link rel=\"stylesheet\" href=\"/api/docs.css\">"
                     "</head><body>\n");
    buf_printf(page, "<h1>CNSMO API %s</h1>\n", json_get_string(info, "version", ""));
    element(page, "p", json_get_string(info, "description", ""));
    buf_printf(page, "<p>For programs: <a href=\"/api/v2/openapi.json\">openapi.json</a> "
                     "(OpenAPI 3.1). Log in with <code>POST /api/v2/session</code> and send "
                     "<code>Authorization: Bearer TOKEN</code>. Errors are "
                     "<code>application/problem+json</code> (RFC 9457).</p>\n<h2>Routes</h2>\n");
    json_object_foreach (json_object_get(document, "paths"), path, operations) {
        json_object_foreach (operations, method, op) {
            operation(page, path, method, op);
        }
    }
    buf_printf(page, "<h2>Fields</h2>\n");
    json_object_foreach ((json_t *)schemas, name, schema) {
        const json_t *resolved = resolve(document, schema);
        element(page, "h3", name);
        element(page, "p", json_get_string(resolved, "description", ""));
        fields(page, resolved);
    }
    buf_printf(page, "<p>* required</p></body></html>\n");
}

void doc_get_page(struct api_call *call)
{
    _cleanup_buf_ struct buf page = BUF_INIT(PAGE_MAX);

    fill(&page, doc_openapi(call->api));
    http_set_header(call->request, "Content-Security-Policy",
                    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
                    "frame-ancestors 'none'");
    call_reply_text(call, 200, "text/html; charset=utf-8", page.data ? page.data : "");
}

void doc_get_style(struct api_call *call)
{
    call_reply_text(call, 200, "text/css; charset=utf-8", STYLE);
}
