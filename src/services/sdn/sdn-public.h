/* sdn-public.h - filters on the machine's own NICs; see core/backend.h. */
#pragma once

#include "core/backend.h"

extern const struct backend BACKEND_SDN_PUBLIC;
