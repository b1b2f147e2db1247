/* SPDX-License-Identifier: BSD-3-Clause */
/* A daemon with a control API: see apis.h. */
#include "e2e/apis.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "e2e/reloads.h"

char apis_socket[128], apis_folder[128];
void (*apis_prepare)(void);

void apis_setup_with(const char *const *extra)
{
	char option[160], folder[160];
	const char *args[12] = { option, folder, "--log-level", "info" };

	e2e_setup_bare();
	vhd.prepare = apis_prepare;
	snprintf(apis_socket, sizeof apis_socket, "%s/api", vhd.dir);
	snprintf(apis_folder, sizeof apis_folder, "%s/folder", vhd.dir);
	snprintf(option, sizeof option, "--api-socket=path=%s", apis_socket);
	snprintf(folder, sizeof folder, "--api-folder=%s", apis_folder);
	must(mkdir(apis_folder, 0700) == 0);
	for (int n = 4; extra && *extra; n++)
		args[n] = *extra++;
	reloads_spawn(BOTH, args);
	must(daemon_wait_listening(&vhd, vhd.socket));
	must(daemon_wait_listening(&vhd, vhd.uds));
	must(daemon_wait_listening(&vhd, apis_socket));
	driver_up(&vm, vhd.socket, NULL);
	openapi_load(apis_socket);
}

void apis_setup(void)
{
	apis_setup_with(NULL);
}

void apis_setup_alone(void)
{
	apis_setup_with((const char *const[]){ "--supervise=off", NULL });
}

const char *apis_do(const char *method, const char *path, const char *url, const char *body,
		    int status)
{
	static struct http_answer a;
	const char *wrong;

	http_answer_deinit(&a);
	a = http_ask(apis_socket, method, url, body);
	ck_assert_msg(a.status == status, "%s %s: %d %s, not %d\n%s", method, url, a.status,
		      a.body ? a.body : "", status, daemon_log(&vhd));
	wrong = openapi_check(method, path, &a);
	ck_assert_msg(!wrong, "%s %s: %s: %s", method, url, wrong, a.body);
	return a.body;
}

const char *apis_get(const char *path)
{
	return apis_do("GET", path, path, NULL, 200);
}

double apis_metric(const char *name)
{
	char line[160];
	const char *at;

	snprintf(line, sizeof line, "\n%s ", name);
	at = strstr(apis_get("/metrics"), line);
	ck_assert_msg(at, "no %s", name);
	return atof(at + strlen(line));
}

const char *apis_row(const char *name)
{
	static char row[512];

	snprintf(row, sizeof row, "{\"socket\": \"%s/%s.vhost\", \"uds_path\": \"%s/%s.sock\", "
		 "\"groups\": [\"default\", \"other\"], \"queue-size\": 256}", apis_folder, name,
		 apis_folder, name);
	return row;
}
