/* SPDX-License-Identifier: BSD-3-Clause */
/* What must hold of any plan that was accepted, and of any refusal. */
#pragma once

struct config_error;
struct plan;

/* Completes @plan as config_read() does, after parsing returned @r, and asserts. */
void plan_judge(struct plan *plan, int r, struct config_error *err);
