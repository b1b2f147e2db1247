/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The engine as a process of its own: it is told by a supervisor what to serve (channel.h),
 * keeps there what has to outlive it, and asks there for what it may not do itself.
 */
#pragma once

/* Serves until the supervisor says stop, or is gone. In the main thread, once, while there
 * is no other. Returns the exit status of the process. */
int hosted_run(int channel);
