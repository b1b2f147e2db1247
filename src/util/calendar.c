/* SPDX-License-Identifier: BSD-3-Clause */
/* The Gregorian calendar. */
#include "util/calendar.h"

#include <stdio.h>

size_t calendar_put_utc(char *text, size_t size, const struct timespec *ts)
{
	long secs = ts->tv_sec % 86400, days = ts->tv_sec / 86400;
	/* Years begin in March here, so that the odd day is the last one; an era
	 * is the 400 years after which the calendar repeats. */
	long day = days + 719468, era = day / 146097, doe = day % 146097;
	long yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	long doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	long mp = (5 * doy + 2) / 153;		/* months since March */
	long month = mp < 10 ? mp + 3 : mp - 9;
	int n = snprintf(text, size, "%04ld-%02ld-%02ldT%02ld:%02ld:%02ld.%03ldZ",
			 era * 400 + yoe + (month <= 2), month, doy - (153 * mp + 2) / 5 + 1,
			 secs / 3600, secs / 60 % 60, secs % 60, ts->tv_nsec / 1000000);

	if (n < 0 || size == 0)
		return 0;
	return (size_t)n < size ? (size_t)n : size - 1;
}
