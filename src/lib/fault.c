#include "lib/fault.h"

#include <errno.h>

static unsigned armed, passed;

int fault_point(void)
{
    passed++;
    return armed != 0 && passed == armed ? -EIO : 0;
}

void fault_arm(unsigned n)
{
    armed = n;
    passed = 0;
}

unsigned fault_count(void)
{
    return passed;
}
