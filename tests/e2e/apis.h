/* SPDX-License-Identifier: BSD-3-Clause */
/* A daemon with a control API: two VMs, of which the first has a guest, and a folder in which more
 * may be made. */
#pragma once

#include "e2e/e2e.h"
#include "e2e/http.h"
#include "e2e/openapi.h"

extern char apis_socket[128], apis_folder[128];
extern void (*apis_prepare)(void);		/* as daemon::prepare; NULL */

void apis_setup(void);				/* with --config, and a guest in VM 3 */
void apis_setup_with(const char *const *extra);	/* the same, and further options */
void apis_setup_alone(void);			/* --supervise=off */

/* Asks, and the answer has to be of the document, and have this status. The body is valid until
 * the next call. @path as the document has it, "/v1/vms/{cid}"; what is at the braces in @url. */
const char *apis_do(const char *method, const char *path, const char *url, const char *body,
		    int status);
/* The same where no part of the path is another. */
const char *apis_get(const char *path);
/* What /metrics says of the one with that name and labels, as it writes them. */
double apis_metric(const char *name);

/* {"socket": ..., "uds-path": ...} in the folder, by @name; valid until the next call. */
const char *apis_row(const char *name);
