/* SPDX-License-Identifier: BSD-3-Clause */
/* What the doctor has found, and how it is written down. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum doctor_severity { DOCTOR_NOTE, DOCTOR_PROBLEM };

enum { DOCTOR_FINDINGS_MAX = 16, DOCTOR_LINE_MAX = 768 };

struct doctor_finding {
	enum doctor_severity severity;
	const char *cause;			/* "no-daemon": for programs; never changes */
	char what[DOCTOR_LINE_MAX];		/* what is wrong, or good to know */
	char advice[DOCTOR_LINE_MAX];		/* what to do; "": nothing */
};

struct doctor_report {
	size_t n;
	struct doctor_finding findings[DOCTOR_FINDINGS_MAX];
};

/* One more, whose texts are still to be said; the last is said anew where there is no room. */
struct doctor_finding *doctor_add(struct doctor_report *out, enum doctor_severity severity,
				  const char *cause);

void doctor_say(char to[DOCTOR_LINE_MAX], const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

bool doctor_has_problem(const struct doctor_report *report);
