/* SPDX-License-Identifier: BSD-3-Clause */
/* Workers that a test runs. */
#pragma once

#include "device/worker.h"

/* Ends their threads, and delivers here what they still have mail of: also to each other. */
void workers_stop(struct worker *const workers[], int n);
