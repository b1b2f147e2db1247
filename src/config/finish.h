/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The gaps that are left when all has been read: groups become sorted and unique, or
 * the default one; each VM gets what was said for all, each socket its mode.
 */
#pragma once

struct plan;

/* 0 or -ENOMEM. */
int finish_plan(struct plan *plan);
