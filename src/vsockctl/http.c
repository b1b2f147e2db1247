/* SPDX-License-Identifier: BSD-3-Clause */
/* HTTP over the daemon's API socket. */
#include "vsockctl/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <curl/curl.h>

#include "util/clock.h"
#include "util/fd.h"
#include "vsockctl/guest_port.h"

enum { CONNECT_MS = 5000, END_MS = 3000, URL_MAX = 2048 };

static CURL *session;				/* made by the first request; keeps its connection */

struct transfer {
	CURL *curl;
	struct http_answer *out;
	size_t room;				/* of the body */
	http_sink *sink;			/* or NULL */
	void *ctx;
	const struct http_request *request;
	uint64_t ends_ms;			/* when its end is not waited for any more; 0: not yet */
	bool is_stopped, is_too_long;
};

static bool keep(struct transfer *t, const char *bytes, size_t n)
{
	struct http_answer *out = t->out;
	size_t room = t->room ? t->room : 4096;
	char *more;

	if (n > HTTP_BODY_MAX - out->len) {
		t->is_too_long = true;
		return false;
	}
	while (room - out->len <= n)
		room *= 2;
	if (room != t->room) {
		more = realloc(out->body, room);
		if (!more)
			return false;
		out->body = more;
		t->room = room;
	}
	memcpy(out->body + out->len, bytes, n);
	out->len += n;
	out->body[out->len] = '\0';
	return true;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	long status = 0;

	(void)size;				/* always 1 */
	curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
	if (!t->sink || status != 200)
		return keep(t, bytes, n) ? n : 0;
	t->is_stopped = !t->sink(t->ctx, bytes, n);
	return t->is_stopped ? 0 : n;
}

/* Called once a second at least, and when a signal has come. */
static int on_progress(void *arg, curl_off_t down_all, curl_off_t down, curl_off_t up_all,
		       curl_off_t up)
{
	struct transfer *t = arg;

	(void)down_all, (void)down, (void)up_all, (void)up;
	if (!*t->request->is_over)
		return 0;
	if (!t->ends_ms && t->request->stop &&
	    t->request->stop(t->request->stop_ctx, t->out->capture))
		t->ends_ms = clock_ms() + END_MS;
	t->is_stopped = *t->request->is_over > 1 || clock_ms() >= t->ends_ms;
	return t->is_stopped;
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
	static const char name[] = "Capture-Id:";
	struct transfer *t = arg;
	char text[32];

	(void)size;				/* always 1 */
	if (n > sizeof name && n < sizeof text + sizeof name - 1 &&
	    strncasecmp(line, name, sizeof name - 1) == 0) {
		memcpy(text, line + sizeof name - 1, n - sizeof name + 1);
		text[n - sizeof name + 1] = '\0';
		t->out->capture = strtoull(text, NULL, 10);
	}
	return n;
}

/* libcurl says only that it could not connect. */
static int explain_connect(const struct http_request *request, struct http_answer *out)
{
	int fd = -1, r = guest_port_dial(&fd, request->socket, SOCK_STREAM,
					 clock_ms() + CONNECT_MS);

	fd_close(&fd);
	snprintf(out->why, sizeof out->why, "%s: %s", request->socket,
		 guest_port_str_error(r ? r : GUEST_PORT_E_BUSY));
	return r && r != GUEST_PORT_E_BUSY ? HTTP_E_NO_DAEMON : HTTP_E_LATE;
}

static int outcome(const struct http_request *request, const struct transfer *t, CURLcode code)
{
	struct http_answer *out = t->out;

	if (code == CURLE_OK)
		return 0;
	if (code == CURLE_COULDNT_CONNECT)
		return explain_connect(request, out);
	if (t->is_stopped)
		return HTTP_E_STOPPED;
	if (code == CURLE_OPERATION_TIMEDOUT) {
		snprintf(out->why, sizeof out->why, "%s: no answer in time", request->socket);
		return HTTP_E_LATE;
	}
	snprintf(out->why, sizeof out->why, "%s: %s", request->socket,
		 t->is_too_long ? "the answer is too long" : curl_easy_strerror(code));
	return HTTP_E_FAILED;
}

static bool set_up(struct transfer *t, const struct http_request *request, const char *url,
		   struct curl_slist *headers)
{
	CURL *c = t->curl;
	CURLcode r = CURLE_OK;

	/* Whatever the environment says of proxies: they are for other sockets. */
	r |= curl_easy_setopt(c, CURLOPT_PROXY, "");
	r |= curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, request->socket);
	r |= curl_easy_setopt(c, CURLOPT_URL, url);
	r |= curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	r |= curl_easy_setopt(c, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
	r |= curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
	r |= curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, request->timeout_ms);
	r |= curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
	r |= curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
	r |= curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
	r |= curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
	r |= curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
	if (request->is_over) {
		r |= curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
		r |= curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
		r |= curl_easy_setopt(c, CURLOPT_XFERINFODATA, t);
	}
	if (request->json)
		r |= curl_easy_setopt(c, CURLOPT_POSTFIELDS, request->json);
	else if (strcmp(request->method, "POST") == 0)
		r |= curl_easy_setopt(c, CURLOPT_POSTFIELDS, "");
	r |= curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, request->method);
	return r == CURLE_OK;
}

/* By @curl; NULL: there is no memory for it. */
static int transfer(CURL *curl, const struct http_request *request, http_sink *sink, void *ctx,
		    struct http_answer *out)
{
	struct transfer t = {
		.curl = curl, .out = out, .sink = sink, .ctx = ctx, .request = request,
	};
	struct curl_slist *headers = NULL;
	char url[URL_MAX];
	int r = HTTP_E_FAILED;

	*out = (struct http_answer){ .body = calloc(1, 1) };
	/* A body larger than 1 MiB would wait for "100 Continue"; none is. */
	headers = curl_slist_append(headers, "Content-Type: application/json");
	if (!out->body || !t.curl || !headers) {
		snprintf(out->why, sizeof out->why, "no memory");
	} else {
		curl_easy_reset(t.curl);
		snprintf(url, sizeof url, "http://localhost%s", request->path);
		if (set_up(&t, request, url, headers))
			r = outcome(request, &t, curl_easy_perform(t.curl));
		else
			snprintf(out->why, sizeof out->why, "libcurl does not know unix sockets");
		curl_easy_getinfo(t.curl, CURLINFO_RESPONSE_CODE, &out->status);
	}
	curl_slist_free_all(headers);
	return r;
}

int http_stream(const struct http_request *request, http_sink *sink, void *ctx,
		struct http_answer *out)
{
	if (!session)
		session = curl_easy_init();
	return transfer(session, request, sink, ctx, out);
}

int http_ask_aside(const struct http_request *request, struct http_answer *out)
{
	CURL *curl = curl_easy_init();
	int r = transfer(curl, request, NULL, NULL, out);

	curl_easy_cleanup(curl);
	return r;
}

int http_ask(const struct http_request *request, struct http_answer *out)
{
	return http_stream(request, NULL, NULL, out);
}

void http_answer_deinit(struct http_answer *answer)
{
	free(answer->body);
	answer->body = NULL;
}
