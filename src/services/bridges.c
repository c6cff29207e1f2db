#include "services/bridges.h"

#include <string.h>

const char *const BRIDGES[] = {"docker", "br-",     "virbr", "lxcbr", "lxdbr", "podman",
                               "cni",    "flannel", "cali",  "kube",  "veth",  NULL};

int bridges_has(const char *name)
{
    for (size_t i = 0; BRIDGES[i]; i++) {
        if (strncmp(name, BRIDGES[i], strlen(BRIDGES[i])) == 0) {
            return 1;
        }
    }
    return 0;
}
