/* lb-plan-test.c FOLDER - golden plans of lb, and the laws of planning over them. */
#include "core/golden.h"
#include "services/lb/lb-kinds.h"

int main(int argc, char **argv)
{
    return argc == 2 ? golden_run(&SERVICE_LB, argv[1]) : 2;
}
