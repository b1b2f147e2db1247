/* SPDX-License-Identifier: BSD-3-Clause */
/* Workers that a test runs. */
#include "workers.h"

#include <stdbool.h>

void workers_stop(struct worker *const workers[], int n)
{
	bool had_mail;

	for (int i = 0; i < n; i++)
		worker_stop(workers[i]);
	do {
		had_mail = false;
		for (int i = 0; i < n; i++)
			had_mail |= worker_deliver_mail(workers[i]);
	} while (had_mail);
}
