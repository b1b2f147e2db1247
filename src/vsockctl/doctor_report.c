/* SPDX-License-Identifier: BSD-3-Clause */
/* Findings. */
#include "vsockctl/doctor_report.h"

#include <stdarg.h>
#include <stdio.h>

struct doctor_finding *doctor_add(struct doctor_report *out, enum doctor_severity severity,
				  const char *cause)
{
	struct doctor_finding *last = &out->findings[DOCTOR_FINDINGS_MAX - 1];

	if (out->n < DOCTOR_FINDINGS_MAX)
		last = &out->findings[out->n++];
	*last = (struct doctor_finding){ .severity = severity, .cause = cause };
	return last;
}

void doctor_say(char to[DOCTOR_LINE_MAX], const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(to, DOCTOR_LINE_MAX, fmt, args);
	va_end(args);
}

bool doctor_has_problem(const struct doctor_report *report)
{
	for (size_t i = 0; i < report->n; i++)
		if (report->findings[i].severity == DOCTOR_PROBLEM)
			return true;
	return false;
}
