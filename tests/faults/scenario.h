/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One life of the daemon under faults, as its users see it: three VMs on two
 * workers, connections in both directions and between siblings, a front-end
 * that dies and comes back, the end. Whatever fails may cost what it was for,
 * once; all else is as ever.
 */
#pragma once

#include <stdbool.h>

#include "faults/faults.h"

struct fault {
	const char *call;
	int error;
	unsigned nth;				/* 0: none */
};

struct outcome {
	unsigned calls;				/* in the whole life */
	bool injected, at_start, at_end;
	bool refused_to_start;
	unsigned vms_left_out, resets;		/* resets: connections and front-ends */
	bool was_logged, was_warned;		/* the error's text; as warning or error */
};

/* Dies when the daemon did what it must not. @report is mapped from @path. */
void scenario_run(const struct fault *f, struct faults_report *report, const char *path,
		  struct outcome *out);
