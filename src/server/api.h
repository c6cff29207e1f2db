/* api.h - the HTTPS API for people and programs: objects (v2), Annex 1 (v1), documents, health.
 *
 * Everything is generic over the kinds of objects: routes, permissions, checks and the OpenAPI
 * document come from the kinds and one table of routes (api-routes.c). The API holds no state of
 * its own but open streams; what it answers is read from the deployment's tree, what it changes
 * goes through deployment_write(). */
#pragma once

#include <stdint.h>
#include <uv.h>

#include "core/deployment.h"
#include "lib/error.h"
#include "pki/pki.h"

struct api;
struct agents;
struct authorities;

struct api_config {
    const char *address;
    uint16_t port; /* 0: any free one, see api_port() */
    const char *certificate_pem;
    const char *key_pem;
    const char *const
        *advertise;           /* where agents find us, NULL-terminated: "host" or "host:port" */
    uint16_t link_port;       /* for those without a port */
    const char *cors_origin;  /* the one other origin that may call, or NULL */
    unsigned connections_max; /* 0: 1000 */
    const char *scratch_dir;  /* backups pass through here, 0600; NULL: /tmp */
    struct authorities *authorities; /* borrowed, until api_free() */
    struct agents *agents;           /* likewise */
};

/* Copies the configuration. */
int api_new(uv_loop_t *loop, struct deployment *deployment, struct pki *pki,
            const struct api_config *config, struct api **ret_api, struct error *error);

/* Closes the listener and all connections; the loop must turn once more for the memory. Before
 * store_close() and deployment_close(). */
void api_free(struct api *api);

uint16_t api_port(const struct api *api);

/* Another certificate for new connections. */
int api_certificate(struct api *api, const char *certificate_pem, const char *key_pem,
                    struct error *error);
