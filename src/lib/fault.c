#include "lib/fault.h"

#include <errno.h>
#include <unistd.h>

static unsigned armed, passed;
static int kills;

int fault_point(void)
{
    passed++;
    if (kills && passed == armed) {
        _exit(FAULT_KILLED);
    }
    return armed != 0 && passed == armed ? -EIO : 0;
}

void fault_arm(unsigned n)
{
    armed = n;
    passed = 0;
    kills = 0;
}

void fault_arm_kill(unsigned n)
{
    fault_arm(n);
    kills = n > 0;
}

unsigned fault_count(void)
{
    return passed;
}
