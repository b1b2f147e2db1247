/* SPDX-License-Identifier: BSD-3-Clause */
/* A script's bytes as steps. */
#pragma once

#include "ledger.h"

/* Four of them: what, who (which port of the guest), and two numbers. */
void step_take(struct vm *vm, unsigned what, unsigned who, unsigned a, unsigned b);
