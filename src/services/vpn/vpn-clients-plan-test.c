/* vpn-clients-plan-test.c FOLDER - golden plans of clients from outside, and the laws of planning.
 */
#include "core/golden.h"
#include "services/vpn/vpn-clients.h"

static const char *const PLANS[] = {"nodes", "vpn/clients", NULL};

/* What the service vpn plans for clients alone: the fabric's plans have their own golden files. */
static const struct service CLIENTS = {.name = "vpn", .plans = PLANS, .plan = vpn_clients_plan};

int main(int argc, char **argv)
{
    return argc == 2 ? golden_run(&CLIENTS, argv[1]) : 2;
}
