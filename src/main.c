/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vhost-device-vsock: options -> plan -> daemon -> exit status. The engine, which is this
 * program, too, is told by its supervisor what to do.
 *
 * Exit status: 0 after a signal to end; 2: your command line or
 * configuration; 1: the system.
 */
#include <sys/stat.h>

#include "config/config.h"
#include "config/plan.h"
#include "daemon/daemon.h"
#include "daemon/engine_process.h"
#include "daemon/hosted.h"
#include "daemon/supervisor.h"
#include "sandbox/guard.h"
#include "sandbox/launch.h"
#include "util/error.h"
#include "util/log.h"

/* In the place of the program that was installed before. */
static int resume(int argc, char **argv, int state)
{
	struct plan plan;
	int r;

	plan_init(&plan);
	r = daemon_resume(&plan, argc, argv, state);
	log_stop_thread();
	guard_stop();
	plan_deinit(&plan);
	return r ? 1 : 0;
}

int main(int argc, char **argv)
{
	struct plan plan;
	int channel, state, status, r;

	if (launch_open_streams() < 0)
		return 1;			/* nowhere to say it */
	state = supervisor_upgrade_state(argc, argv);
	if (state >= 0)				/* signals may wait that are not to end us */
		return resume(argc - 1, argv, state);
	launch_reset_signals();
	status = supervisor_upgrade_check(argc, argv);
	if (status >= 0)
		return status;
	channel = engine_process_channel(argc, argv);
	if (channel >= 0)
		return hosted_run(channel);
	r = config_read(&plan, umask(077), argc, argv);
	if (r == CONFIG_E_EXIT)
		return 0;
	if (r)
		return r == CONFIG_E_USAGE ? 2 : 1;
	r = log_init((enum log_level)plan.log_level, plan.log_file);
	if (r < 0)
		log_err("main", "log-file %s: %s", plan.log_file, error_str(r));
	else
		r = daemon_run(&plan, argc, argv);
	log_stop_thread();			/* but --sandbox=log may still have lines */
	guard_stop();
	plan_deinit(&plan);
	return r ? 1 : 0;
}
