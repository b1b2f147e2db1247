/* SPDX-License-Identifier: BSD-3-Clause */
/* Who we are and what that allows: user, capabilities, no way back. */
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>

#include "sandbox/sandbox.h"
#include "sandbox/sandbox_internal.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log.h"

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), r = 0;

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		r = error_last();
	fd_close(&fd);
	return r;
}

/* In it we keep our IDs: what others see of us does not change. */
static int unshare_with_user(int what)
{
	char uid_map[64], gid_map[64];
	int r;

	snprintf(uid_map, sizeof uid_map, "%u %u 1", geteuid(), geteuid());
	snprintf(gid_map, sizeof gid_map, "%u %u 1", getegid(), getegid());
	if (unshare(CLONE_NEWUSER | what) < 0)
		return error_last();
	r = write_file("/proc/self/setgroups", "deny");
	if (!r)
		r = write_file("/proc/self/uid_map", uid_map);
	return r ? r : write_file("/proc/self/gid_map", gid_map);
}

int sandbox_unshare(int what, bool may_make_user)
{
	if (unshare(what) == 0)
		return 0;
	return errno == EPERM && may_make_user ? unshare_with_user(what) : error_last();
}

/* -1: that stays. Supplementary groups are dropped in any case. */
static int become(uid_t uid, gid_t gid)
{
	if (setgroups(0, NULL) < 0)
		return error_last();
	if (gid != (gid_t)-1 && setresgid(gid, gid, gid) < 0)
		return error_last();
	if (uid != (uid_t)-1 && setresuid(uid, uid, uid) < 0)
		return error_last();
	return 0;
}

/* Those who are not root may only ask to stay who they are. */
static bool is_already(uid_t uid, gid_t gid)
{
	return (uid == (uid_t)-1 || (uid == geteuid() && uid == getuid())) &&
		(gid == (gid_t)-1 || (gid == getegid() && gid == getgid()));
}

int sandbox_check_user(uid_t uid, gid_t gid)
{
	if (geteuid() == 0 || is_already(uid, gid))
		return 0;
	log_err("sandbox", "--user and --group: only root may become somebody else");
	return -EPERM;
}

int sandbox_change_user(uid_t uid, gid_t gid)
{
	int r = 0;

	if (geteuid() == 0 && (uid != (uid_t)-1 || gid != (gid_t)-1))
		r = become(uid, gid);
	if (r < 0)
		log_err("sandbox", "--user and --group: %s", error_str(r));
	return r;
}

/* Where we may not, there is nothing in it that could be had without execve(). */
int sandbox_drop_bounding_set(void)
{
	for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return errno == EPERM ? 0 : error_last();
	return 0;
}

int sandbox_drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { { .effective = 0 } };

	/* The ambient ones go with the permitted ones. */
	return syscall(SYS_capset, &header, none) < 0 ? error_last() : 0;
}

/*
 * Sockets are bound and removed in folders of others, and belong to whom the user says; an
 * engine becomes somebody else, has a file tree and a network of its own, and is ended.
 */
static const unsigned long supervisor_caps[] = {
	CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_CHOWN, CAP_FOWNER,
	CAP_SETUID, CAP_SETGID, CAP_SETPCAP, CAP_SYS_ADMIN, CAP_SYS_CHROOT, CAP_KILL,
	CAP_NET_BIND_SERVICE,			/* of AF_VSOCK ports */
};

static bool is_kept(unsigned long cap)
{
	for (size_t i = 0; i < sizeof supervisor_caps / sizeof *supervisor_caps; i++)
		if (supervisor_caps[i] == cap)
			return true;
	return false;
}

int sandbox_keep_for_supervisor(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3];

	for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (!is_kept(cap) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return errno == EPERM ? 0 : error_last();
	if (syscall(SYS_capget, &header, caps) < 0)
		return error_last();
	for (unsigned long cap = 0; cap < 32 * _LINUX_CAPABILITY_U32S_3; cap++) {
		if (is_kept(cap))
			continue;
		caps[cap / 32].effective &= ~(1U << cap % 32);
		caps[cap / 32].permitted &= ~(1U << cap % 32);
		caps[cap / 32].inheritable &= ~(1U << cap % 32);
	}
	return syscall(SYS_capset, &header, caps) < 0 ? error_last() : 0;
}

int sandbox_die_with_parent(void)
{
	int r = prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ? error_last() : 0;

	if (r < 0)
		log_err("sandbox", "cannot be ended with the supervisor: %s", error_str(r));
	return r;
}

int sandbox_no_new_privs(void)
{
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? error_last() : 0;
}

int sandbox_not_dumpable(void)
{
	if (SANDBOX_HAS_SANITIZER)		/* it traces us in search of leaks */
		return 0;
	return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? error_last() : 0;
}
