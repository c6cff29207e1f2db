/* vpn-plan-test.c FOLDER - golden plans of vpn, and the laws of planning over them. */
#include "core/golden.h"
#include "services/vpn/vpn-plan.h"

int main(int argc, char **argv)
{
    return argc == 2 ? golden_run(&SERVICE_VPN, argv[1]) : 2;
}
