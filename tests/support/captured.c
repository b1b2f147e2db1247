/* SPDX-License-Identifier: BSD-3-Clause */
/* A capture file as somebody else reads it. */
#include "support/captured.h"

#include <endian.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <linux/virtio_vsock.h>
#include <linux/vsockmon.h>

#include "support/must.h"

enum { FILE_BYTES = 24, RECORD_BYTES = 16 };

static uint32_t number(const uint8_t *at)
{
	uint32_t v;

	memcpy(&v, at, sizeof v);
	return v;
}

static struct captured parse(const uint8_t *at, size_t n)
{
	struct af_vsockmon_hdr mon;
	struct virtio_vsock_hdr hdr;

	must(n >= sizeof mon + sizeof hdr);
	memcpy(&mon, at, sizeof mon);
	memcpy(&hdr, at + sizeof mon, sizeof hdr);
	must(le16toh(mon.transport) == AF_VSOCK_TRANSPORT_VIRTIO && le16toh(mon.len) == sizeof hdr);
	must(!mon.reserved[0] && !mon.reserved[1]);
	must(mon.src_cid == hdr.src_cid && mon.dst_cid == hdr.dst_cid);
	must(mon.src_port == hdr.src_port && mon.dst_port == hdr.dst_port);
	return (struct captured){
		.src_cid = le64toh(mon.src_cid), .dst_cid = le64toh(mon.dst_cid),
		.src_port = le32toh(mon.src_port), .dst_port = le32toh(mon.dst_port),
		.mon_op = le16toh(mon.op), .op = le16toh(hdr.op), .type = le16toh(hdr.type),
		.len = le32toh(hdr.len),
		.payload = at + sizeof mon + sizeof hdr, .n_payload = n - sizeof mon - sizeof hdr,
	};
}

/* The bytes of the next packet, with its header; 0: they are not all there. */
static size_t whole_record(const struct captured_file *f, const uint8_t *at, size_t left)
{
	if (left < RECORD_BYTES)
		return 0;
	must(number(at + 8) <= f->snaplen);
	return left - RECORD_BYTES < number(at + 8) ? 0 : RECORD_BYTES + number(at + 8);
}

static void parse_file(struct captured_file *out, uint8_t *bytes, size_t n, bool may_be_cut)
{
	const uint8_t *at = bytes + FILE_BYTES, *end = bytes + n;
	size_t record;

	*out = (struct captured_file){ .bytes = bytes, .n_bytes = n };
	if (may_be_cut && n < FILE_BYTES)
		return;
	must(n >= FILE_BYTES && number(bytes) == 0xa1b23c4d && number(bytes + 20) == 271);
	out->snaplen = number(bytes + 16);
	while (at < end) {
		record = whole_record(out, at, (size_t)(end - at));
		if (!record && may_be_cut)
			return;
		must(record);
		out->packets = realloc(out->packets, (out->n + 1) * sizeof *out->packets);
		must(out->packets);
		out->packets[out->n] = parse(at + RECORD_BYTES, record - RECORD_BYTES);
		out->packets[out->n].nanos = number(at) * UINT64_C(1000000000) + number(at + 4);
		out->packets[out->n].orig_len = number(at + 12);
		must(number(at + 4) < 1000000000 && number(at + 12) >= number(at + 8));
		out->n++;
		at += record;
	}
}

void captured_parse(struct captured_file *out, uint8_t *bytes, size_t n)
{
	parse_file(out, bytes, n, false);
}

static void read_file(struct captured_file *out, const char *path, bool may_be_cut)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	uint8_t *bytes;
	size_t n = 0;

	must(fd >= 0 && fstat(fd, &st) == 0);
	bytes = malloc((size_t)st.st_size + 1);
	must(bytes);
	while (n < (size_t)st.st_size) {
		ssize_t got = read(fd, bytes + n, (size_t)st.st_size - n);

		must(got > 0);
		n += (size_t)got;
	}
	close(fd);
	parse_file(out, bytes, n, may_be_cut);
}

void captured_read(struct captured_file *out, const char *path)
{
	read_file(out, path, false);
}

void captured_read_so_far(struct captured_file *out, const char *path)
{
	read_file(out, path, true);
}

void captured_free(struct captured_file *f)
{
	free(f->packets);
	free(f->bytes);
	*f = (struct captured_file){ .n = 0 };
}

static size_t count_lines(const char *command)
{
	FILE *f = popen(command, "r");
	size_t n = 0;

	must(f);
	for (int c; (c = fgetc(f)) != EOF; )
		n += c == '\n';
	must(pclose(f) == 0);
	return n;
}

bool captured_is_sound(const char *path, size_t n)
{
	char command[512];

	if (system("command -v tshark >/dev/null 2>&1") != 0) {
		fprintf(stderr, "# no tshark: %s is read by ourselves alone\n", path);
		return true;
	}
	snprintf(command, sizeof command, "tshark -n -r %s -T fields -e vsock.src_cid 2>&1 | "
		 "grep '^[0-9]' || :", path);
	if (count_lines(command) < n)		/* it may grow meanwhile */
		return false;
	snprintf(command, sizeof command,
		 "tshark -n -r %s -Y '_ws.malformed || !vsock' 2>/dev/null", path);
	return count_lines(command) == 0;
}
