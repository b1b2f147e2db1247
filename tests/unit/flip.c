/* SPDX-License-Identifier: BSD-3-Clause */
/* A field that changes while it is read: see flip.h. */
#include "flip.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "unit.h"

/* ---- stepped: a trap before and behind each access ---- */

#ifdef __x86_64__

enum { TRAP_FLAG = 0x100, PAGE = 4096 };

static struct {
	volatile uint32_t *field;
	uint32_t to;
	uint8_t *page;				/* NULL: no trap is set */
	unsigned left, accesses;
} trap;

static void page_is(int prot)
{
	if (mprotect(trap.page, PAGE, prot) < 0)
		_exit(99);
}

/* Lets the one instruction through. */
static void on_fault(int sig, siginfo_t *info, void *context)
{
	uint8_t *at = info->si_addr;

	if (!trap.page || at < trap.page || at >= trap.page + PAGE) {
		signal(sig, SIG_DFL);		/* a crash like any other */
		return;
	}
	page_is(PROT_READ | PROT_WRITE);
	((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
}

static void on_step(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)info;
	((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
	trap.accesses++;
	if (trap.left && --trap.left == 0)
		*trap.field = trap.to;
	page_is(PROT_NONE);
}

static void catch(int sig, void (*handler)(int, siginfo_t *, void *))
{
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };

	ck_assert_int_eq(sigaction(sig, &sa, NULL), 0);
}

bool flip_can_step(void)
{
	return true;
}

static void arm(struct flip *f)
{
	*f->field = f->to_good ? f->bad : f->good;
	trap.field = f->field;
	trap.to = f->to_good ? f->good : f->bad;
	trap.left = f->after;
	trap.accesses = 0;
	trap.page = (uint8_t *)((uintptr_t)f->read_at & ~(uintptr_t)(PAGE - 1));
	page_is(PROT_NONE);
}

static void disarm(void)
{
	page_is(PROT_READ | PROT_WRITE);
	trap.page = NULL;
}

static void step_begin(struct flip *f)
{
	catch(SIGSEGV, on_fault);
	catch(SIGTRAP, on_step);
	arm(f);					/* once without a change: the first is special */
}

static bool step_goes_on(struct flip *f)
{
	bool is_first = !f->after, changed = !is_first && !trap.left;

	disarm();
	f->changes += changed;
	if (!is_first && !f->to_good && !changed)
		return false;			/* a good one takes fewer accesses than that */
	if (is_first || f->to_good)
		f->after++;
	f->to_good = !is_first && !f->to_good;
	arm(f);
	return true;
}

static void step_end(struct flip *f)
{
	ck_assert_uint_gt(f->changes, 0);
	signal(SIGSEGV, SIG_DFL);
	signal(SIGTRAP, SIG_DFL);
}

#else

bool flip_can_step(void)
{
	return false;
}

static void step_begin(struct flip *f)
{
	(void)f;
}

static bool step_goes_on(struct flip *f)
{
	(void)f;
	return false;
}

static void step_end(struct flip *f)
{
	(void)f;
}

#endif

/* ---- racing: another process ---- */

enum { CHANGES = 100000, SECONDS = 1, LOOK_EVERY = 1024 };

static _Noreturn void run_guest(const struct flip *f)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		*f->field = f->bad;
		*f->field = f->good;
	}
}

static time_t now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

static void race_begin(struct flip *f)
{
	f->until = now_s() + SECONDS + 1;
	*f->field = f->good;
	f->guest = fork();
	ck_assert_int_ge(f->guest, 0);
	if (f->guest == 0)
		run_guest(f);
}

/* Until it was seen to change often enough? On a single CPU that is once in a time slice. */
static bool race_goes_on(struct flip *f, bool is_good)
{
	f->changes += is_good != f->was_good;
	f->was_good = is_good;
	if (++f->rounds % LOOK_EVERY == 0 && now_s() >= f->until)
		return false;
	return f->changes < CHANGES;
}

static void race_end(struct flip *f)
{
	kill(f->guest, SIGKILL);
	ck_assert_int_eq(waitpid(f->guest, NULL, 0), f->guest);
}

/* ---- either ---- */

void flip_begin(struct flip *f)
{
	if (f->way == FLIP_STEPPED)
		step_begin(f);
	else
		race_begin(f);
}

bool flip_goes_on(struct flip *f, bool is_good)
{
	return f->way == FLIP_STEPPED ? step_goes_on(f) : race_goes_on(f, is_good);
}

void flip_end(struct flip *f)
{
	if (f->way == FLIP_STEPPED)
		step_end(f);
	else
		race_end(f);
}
