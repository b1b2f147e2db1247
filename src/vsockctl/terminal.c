/* SPDX-License-Identifier: BSD-3-Clause */
/* The terminal of a program that fills it. */
#include "vsockctl/terminal.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/error.h"

static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH };

static struct termios as_it_was;
static bool is_entered;
static volatile sig_atomic_t end_signal, has_stop;
static sigset_t blocked, unblocked;		/* our signals come only while we wait */

static void on_signal(int sig)
{
	if (sig == SIGTSTP)
		has_stop = 1;
	else if (sig != SIGWINCH)
		end_signal = sig;
}

static void put(const char *escapes)
{
	if (write(STDOUT_FILENO, escapes, strlen(escapes)) < 0) {
		/* Then there is nobody to see it. */
	}
}

static void begin(void)
{
	struct termios raw = as_it_was;

	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw);
	put("\x1b[?1049h\x1b[?25l\x1b[2J");
	is_entered = true;
}

int terminal_enter(void)
{
	struct sigaction sa = { .sa_handler = on_signal };

	if (!isatty(STDOUT_FILENO) || tcgetattr(STDIN_FILENO, &as_it_was) < 0)
		return -1;
	sigemptyset(&blocked);
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
		sigaddset(&blocked, signals[i]);
		sigaction(signals[i], &sa, NULL);
	}
	sigprocmask(SIG_BLOCK, &blocked, &unblocked);
	begin();
	return 0;
}

void terminal_leave(void)
{
	if (!is_entered)
		return;
	is_entered = false;
	put("\x1b[?25h\x1b[?1049l");
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &as_it_was);
}

void terminal_size(unsigned *columns, unsigned *lines)
{
	struct winsize size = { .ws_col = 0 };

	*columns = 80;
	*lines = 24;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col && size.ws_row) {
		*columns = size.ws_col;
		*lines = size.ws_row;
	}
}

/* Ctrl-Z: the shell gets its terminal back; when we go on, we take it again. */
static void stop(void)
{
	has_stop = 0;
	terminal_leave();
	raise(SIGSTOP);
	begin();
}

int terminal_wait(uint64_t deadline_ms, char *key)
{
	struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
	uint64_t now = clock_ms();
	struct timespec left = clock_timespec(deadline_ms > now ? deadline_ms - now : 0);
	int n = ppoll(&p, 1, &left, &unblocked);

	if (end_signal)
		return TERMINAL_E_ENDED;
	if (has_stop)
		stop();
	if (n <= 0)
		return n < 0 && errno != EINTR ? TERMINAL_E_ENDED : TERMINAL_E_NOTHING;
	return read(STDIN_FILENO, key, 1) == 1 ? 0 : TERMINAL_E_ENDED;
}

void terminal_end_by_signal(void)
{
	if (!end_signal)
		return;
	signal(end_signal, SIG_DFL);
	raise(end_signal);
	sigprocmask(SIG_SETMASK, &unblocked, NULL);
}
