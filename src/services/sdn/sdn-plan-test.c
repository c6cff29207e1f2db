/* sdn-plan-test.c FOLDER - golden plans of sdn, and the laws of planning over them. */
#include "core/golden.h"
#include "services/sdn/sdn-kinds.h"

int main(int argc, char **argv)
{
    return argc == 2 ? golden_run(&SERVICE_SDN, argv[1]) : 2;
}
