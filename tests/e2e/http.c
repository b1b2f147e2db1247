/* SPDX-License-Identifier: BSD-3-Clause */
/* A client of the control API: see http.h. */
#include "e2e/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "support/host.h"
#include "support/must.h"

enum { ANSWER_MAX = 16 << 20 };

void http_send(int fd, const char *method, const char *path, const char *body)
{
	char head[2048];
	int n = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: localhost\r\n"
			 "Connection: close\r\nContent-Length: %zu\r\n\r\n", method, path,
			 body ? strlen(body) : 0);

	must(n > 0 && n < (int)sizeof head);
	if (host_write(fd, head, (size_t)n) && body)
		host_write(fd, body, strlen(body));
}

/* The value of a header, up to the end of its line. */
static void find_header(const char *head, const char *name, char *value, size_t size)
{
	size_t len = strlen(name);

	*value = '\0';
	for (const char *line = head; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncasecmp(line, name, len) == 0 && line[len] == ':') {
			snprintf(value, size, "%.*s", (int)strcspn(line + len + 2, "\r\n"),
				 line + len + 2);
			return;
		}
	}
}

struct http_answer http_read(int fd)
{
	struct http_answer a = { 0 };
	char *bytes = malloc(ANSWER_MAX + 1), *body;

	must(bytes);
	bytes[host_read(fd, bytes, ANSWER_MAX)] = '\0';
	body = strstr(bytes, "\r\n\r\n");
	if (body && sscanf(bytes, "HTTP/1.%*d %d", &a.status) == 1) {
		*body = '\0';
		find_header(bytes, "Content-Type", a.type, sizeof a.type);
		find_header(bytes, "Allow", a.allow, sizeof a.allow);
		a.body = strdup(body + 4);
		a.len = strlen(a.body);
	}
	free(bytes);
	return a;
}

void http_answer_deinit(struct http_answer *a)
{
	free(a->body);
	a->body = NULL;
}

struct http_answer http_ask(const char *socket, const char *method, const char *path,
			    const char *body)
{
	struct http_answer a;
	int fd = host_connect(socket);

	if (fd < 0)
		return (struct http_answer){ 0 };
	http_send(fd, method, path, body);
	a = http_read(fd);
	close(fd);
	return a;
}
