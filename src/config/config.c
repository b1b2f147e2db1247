/* SPDX-License-Identifier: BSD-3-Clause */
/* The order in which a plan's parts are read. */
#include "config/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "config/api.h"
#include "config/check.h"
#include "config/error.h"
#include "config/finish.h"
#include "config/help.h"
#include "config/level.h"
#include "config/options.h"
#include "config/owner.h"
#include "config/passed.h"
#include "config/place.h"
#include "config/plan.h"
#include "config/yaml.h"

/* Everything after the command line's own words. */
static int complete(struct plan *plan, const struct plan *running, const struct options *o,
		    struct config_error *err)
{
	const char *rust_log = getenv("RUST_LOG");
	int r;

	r = owner_find(plan, err);
	if (r)
		return r;
	if (!o->has_log_level && rust_log)
		level_parse_rust_log(&plan->log_level, rust_log);
	if (o->config) {
		plan->config = strdup(o->config);
		r = plan->config ? 0 : -ENOMEM;
	}
	if (r)
		return r;
	if (o->config) {
		int level = plan->log_level;

		r = yaml_load(o->config, plan, err);
		if (o->has_log_level)
			plan->log_level = level;
		if (r)
			return r;
	}
	r = owner_find_sockets(plan, err);
	if (r == 0)
		r = finish_plan(plan);
	if (r == 0)
		r = place_find_all(plan, stat);
	if (r == 0)
		r = api_find_folders(plan, err);
	if (r == 0)
		r = check_plan(plan, err);
	if (r == 0)
		r = passed_check(plan, running, err);
	return r ? r : passed_activate(plan, running, err);
}

static int print(const struct options *o)
{
	switch (o->print) {
	case PRINT_CAPABILITIES:
		return help_print_capabilities();
	case PRINT_VERSION:
		return help_print_version();
	case PRINT_NOTHING:
	case PRINT_HELP:
		break;
	}
	return help_print();
}

int config_load(struct plan *plan, const struct plan *running, mode_t umask, int argc, char **argv,
		struct config_error *err)
{
	struct options o;
	int r;

	*err = (struct config_error){ "" };
	plan_init(plan);
	plan->umask = umask;
	r = options_parse(&o, plan, argc, argv, err);
	if (r == 0)
		r = complete(plan, running, &o, err);
	else if (r == CONFIG_E_EXIT)
		r = print(&o);
	if (r == 0)
		return 0;

	if (r != CONFIG_E_EXIT && !*err->text)
		config_fail(err, "%s", strerror(-r));
	plan_deinit(plan);
	return r;
}

int config_read(struct plan *plan, mode_t umask, int argc, char **argv)
{
	struct config_error err;
	int r = config_load(plan, NULL, umask, argc, argv, &err);

	if (r && r != CONFIG_E_EXIT)
		config_error_print(&err, stderr);
	return r;
}
