/* dns-plan-test.c FOLDER - golden plans of dns, and the laws of planning over them. */
#include "core/golden.h"
#include "services/dns/dns-kinds.h"

int main(int argc, char **argv)
{
    return argc == 2 ? golden_run(&SERVICE_DNS, argv[1]) : 2;
}
