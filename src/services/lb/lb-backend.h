/* lb-backend.h - the driver of load-balanced services: one HAProxy. See lb-driver.h. */
#pragma once

#include "core/backend.h"

extern const struct backend BACKEND_LB;
