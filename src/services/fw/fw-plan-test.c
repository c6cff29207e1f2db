/* fw-plan-test.c FOLDER - golden plans of fw, and the laws of planning over them. */
#include "core/golden.h"
#include "services/fw/fw-kinds.h"

int main(int argc, char **argv)
{
    return argc == 2 ? golden_run(&SERVICE_FW, argv[1]) : 2;
}
