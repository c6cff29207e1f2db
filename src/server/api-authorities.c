/* api-authorities.c - the authority's intermediates and their rollover. */
#include "server/api-internal.h"
#include "server/authorities.h"

void authority_list(struct api_call *call)
{
    call_reply_json(call, 200,
                    json_pack("{s:o}", "items", authorities_describe(call->api->authorities)));
}

void authority_rollover(struct api_call *call)
{
    const char *name = http_param(call->request, "id");
    struct error error = {0};
    struct actor actor;
    enum pki_role role;

    call_actor(call, &actor);
    int rc = pki_role_parse(name, &role) < 0
                 ? error_set(&error, 404, NULL, "there is no authority \"%.63s\"", name)
                 : authorities_rollover(call->api->authorities, role, &actor, &error);
    if (rc < 0) {
        call_fail(call, &error);
        return;
    }
    authority_list(call);
}
