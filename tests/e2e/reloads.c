/* SPDX-License-Identifier: BSD-3-Clause */
/* A daemon whose configuration file is read again: see reloads.h. */
#include "e2e/reloads.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static char config[128];

const char *reloads_path(const char *name)
{
	static char paths[5][128];
	static int i;

	i = (i + 1) % 5;
	snprintf(paths[i], sizeof paths[i], "%s/%s", vhd.dir, name);
	return paths[i];
}

void reloads_write(const char *text)
{
	FILE *f = fopen(config, "we");

	must(f);
	for (; *text; text++)
		if (*text == '$')
			fputs(vhd.dir, f);
		else
			fputc(*text, f);
	must(fclose(f) == 0);
}

void reloads_spawn(const char *first, const char *const *extra)
{
	const char *args[16] = { "--config", config };

	for (int i = 2; extra && *extra; i++)
		args[i] = *extra++;
	snprintf(config, sizeof config, "%s", reloads_path("vms.yaml"));
	reloads_write(first);
	daemon_spawn(&vhd, args);
}

void reloads_ask(const char *text)
{
	reloads_write(text);
	must(truncate(vhd.log, 0) == 0);
	must(kill(vhd.pid, SIGHUP) == 0);
}

void reloads_do(const char *text, const char *logged)
{
	reloads_ask(text);
	ck_assert_msg(daemon_wait_log(&vhd, logged), "%s: %s", logged, daemon_log(&vhd));
}

void reloads_wait_guest(uint64_t cid)
{
	char logged[64];

	snprintf(logged, sizeof logged, " vm %llu: guest is running\n", (unsigned long long)cid);
	ck_assert_msg(daemon_wait_log(&vhd, logged), "%s", daemon_log(&vhd));
}

bool reloads_wait_gone(const char *path)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (access(path, F_OK) == 0) {
		if (!deadline_left(deadline))
			return false;
		poll(NULL, 0, 1);
	}
	return true;
}
