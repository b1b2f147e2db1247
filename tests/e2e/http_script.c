/* SPDX-License-Identifier: BSD-3-Clause */
/* A daemon's API that says what a script wants. */
#include "e2e/http_script.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "support/deadline.h"
#include "support/host.h"
#include "support/must.h"

enum { REQUEST_MAX = 4096 };

static const struct http_row *row_for(const struct http_script *s, const char *request)
{
	for (const struct http_row *row = s->rows; row->request; row++)
		if (strncmp(request, row->request, strlen(row->request)) == 0 &&
		    request[strlen(row->request)] == ' ')
			return row;
	return NULL;
}

static void answer(int fd, const struct http_row *row)
{
	static const char none[] = "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}";
	size_t n = row && row->repeat ? row->repeat : 1, len;
	char head[128];

	if (!row || row->answer[0] != '{') {
		const char *text = row ? row->answer : none;

		host_write(fd, text, strlen(text));
		return;
	}
	len = strlen(row->answer);
	snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", len * n);
	if (!host_write(fd, head, strlen(head)))
		return;
	while (n-- > 0 && host_write(fd, row->answer, len))
		;
}

/* All of one, as it came: its body is as long as it says. 0: the client has gone. */
static size_t read_request(int fd, char request[REQUEST_MAX])
{
	size_t len = 0, wanted = SIZE_MAX;
	const char *end, *length;
	ssize_t n;

	while (len < wanted && len + 1 < REQUEST_MAX) {
		n = read(fd, request + len, REQUEST_MAX - 1 - len);
		if (n <= 0)
			return 0;
		len += (size_t)n;
		request[len] = '\0';
		end = strstr(request, "\r\n\r\n");
		length = strcasestr(request, "Content-Length: ");
		if (end)
			wanted = (size_t)(end + 4 - request) +
				(length ? strtoul(length + 16, NULL, 10) : 0);
	}
	return len;
}

static void note(struct http_script *s, const char *request)
{
	const char *body = strstr(request, "\r\n\r\n");
	size_t len = strlen(s->seen);

	snprintf(s->seen + len, sizeof s->seen - len, "%.*s %s\n", (int)strcspn(request, "\r"),
		 request, body ? body + 4 : "");
}

static void *serve(void *arg)
{
	struct http_script *s = arg;
	char request[REQUEST_MAX];
	int fd;

	while ((fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		while (read_request(fd, request)) {
			const struct http_row *row = row_for(s, request);

			note(s, request);
			answer(fd, row);
			if (row && row->answer[0] != '{')
				break;		/* it may say anything: the end tells how long it is */
		}
		close(fd);
	}
	return NULL;
}

void http_script_start(struct http_script *s, const char *path, const struct http_row *rows)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	*s = (struct http_script){ .rows = rows };
	s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(s->listener >= 0);
	must(snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path) <
	     (int)sizeof addr.sun_path);
	must(bind(s->listener, (struct sockaddr *)&addr, sizeof addr) == 0);
	must(listen(s->listener, 8) == 0);
	must(pthread_create(&s->thread, NULL, serve, s) == 0);
}

void http_script_stop(struct http_script *s)
{
	shutdown(s->listener, SHUT_RDWR);	/* accept() returns */
	pthread_join(s->thread, NULL);
	close(s->listener);
}
