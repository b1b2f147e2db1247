/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The plan meets the process: what that can have is shared among the VMs (limits.h). What
 * a VM has less of than was asked for, or cannot be known of it, is logged as a warning.
 */
#pragma once

#include <stddef.h>

struct plan;

void prepare_plan(struct plan *plan, size_t n_workers);	/* both of the next */

/* Shares of the plan that are there are those that were shared out before: what has not
 * changed since is not logged again. */
void prepare_shares(struct plan *plan, size_t n_workers);
void prepare_warn(const struct plan *plan);		/* of its VMs' paths */

/* Logs that @n_served of @n_vms are served. */
void prepare_log_serving(const struct plan *plan, size_t n_served, size_t n_vms);
