/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration file. */
#include "config/yaml.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

#include "config/error.h"
#include "config/keys.h"
#include "config/level.h"
#include "config/plan.h"
#include "util/fd.h"

struct reader {
	yaml_document_t *doc;
	const char *name;
	struct plan *plan;
	struct config_error *err;
	size_t n_taken;				/* bytes of values so far */
};

static size_t line_of(const yaml_node_t *node)
{
	return node->start_mark.line + 1;
}

/* Puts "file:line" in front. */
static int locate(struct reader *rd, const yaml_node_t *node, int r)
{
	return config_prefix(rd->err, r, "%s:%zu", rd->name, line_of(node));
}

static const char *scalar_text(const yaml_node_t *node)
{
	return (const char *)node->data.scalar.value;
}

/* The text of a node that must be a scalar. */
static int take_scalar(struct reader *rd, const yaml_node_t *node, const char **text)
{
	if (node->type == YAML_SEQUENCE_NODE)
		return config_fail(rd->err, "one value is wanted, not a list");
	if (node->type != YAML_SCALAR_NODE)
		return config_fail(rd->err, "one value is wanted, not a mapping");
	if (strlen(scalar_text(node)) != node->data.scalar.length)
		return config_fail(rd->err, "a NUL byte in the text");
	rd->n_taken += node->data.scalar.length + 1;
	if (rd->n_taken > YAML_VALUES_MAX)
		return config_fail(rd->err, "the aliases repeat too much");
	*text = scalar_text(node);
	return 0;
}

static bool is_null(const yaml_node_t *node)
{
	static const char *const nulls[] = { "~", "null", "Null", "NULL" };

	if (node->type != YAML_SCALAR_NODE ||
	    node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return false;
	for (size_t i = 0; i < sizeof nulls / sizeof *nulls; i++) {
		if (strcmp(scalar_text(node), nulls[i]) == 0)
			return true;
	}
	return false;
}

static int read_item(struct reader *rd, struct vm_plan *vm, const struct setting *key,
		     const yaml_node_t *node)
{
	const char *text = NULL;
	int r = take_scalar(rd, node, &text);

	return r ? r : keys_set(key, vm, text, rd->err);
}

/* A YAML list of values, each of which may be "a+b" again. */
static int read_items(struct reader *rd, struct vm_plan *vm, const struct setting *key,
		      const char *name, const yaml_node_t *list)
{
	if (list->data.sequence.items.start == list->data.sequence.items.top)
		return locate(rd, list, config_fail(rd->err, "%s: empty list", name));
	for (yaml_node_item_t *item = list->data.sequence.items.start;
	     item < list->data.sequence.items.top; item++) {
		const yaml_node_t *node = yaml_document_get_node(rd->doc, *item);
		int r = read_item(rd, vm, key, node);

		if (r)
			return locate(rd, node, config_prefix(rd->err, r, "%s", name));
	}
	return 0;
}

static int read_pair(struct reader *rd, struct vm_plan *vm, unsigned *given,
		     const yaml_node_t *key_node, const yaml_node_t *node)
{
	const struct setting *key;
	const char *name = NULL;
	int r;

	r = take_scalar(rd, key_node, &name);
	if (r)
		return locate(rd, key_node, config_prefix(rd->err, r, "key"));
	key = keys_find(name);
	if (!key)
		return locate(rd, key_node, config_fail(rd->err, "unknown key " SHOWN, name));
	r = keys_claim(key, given, rd->err);
	if (r)
		return locate(rd, key_node, config_prefix(rd->err, r, "%s", name));
	if (is_null(node))
		return 0;
	if (key->kind == SETTING_LIST && node->type == YAML_SEQUENCE_NODE)
		return read_items(rd, vm, key, name, node);
	r = read_item(rd, vm, key, node);
	return locate(rd, node, config_prefix(rd->err, r, "%s", name));
}

static int read_vm(struct reader *rd, const yaml_node_t *node)
{
	char *origin;
	struct vm_plan *vm;
	unsigned given = 0;
	int r = 0;

	if (node->type != YAML_MAPPING_NODE)
		return locate(rd, node, config_fail(rd->err, "a VM is a mapping of keys"));
	if (asprintf(&origin, "%s:%zu", rd->name, line_of(node)) < 0)
		return -ENOMEM;
	vm = keys_add_vm(rd->plan, origin);
	free(origin);
	if (!vm)
		return -ENOMEM;
	for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
	     r == 0 && pair < node->data.mapping.pairs.top; pair++)
		r = read_pair(rd, vm, &given, yaml_document_get_node(rd->doc, pair->key),
			      yaml_document_get_node(rd->doc, pair->value));
	return r;
}

static int read_vms(struct reader *rd, const yaml_node_t *node)
{
	int r = 0;

	if (node->type != YAML_SEQUENCE_NODE)
		return locate(rd, node, config_fail(rd->err, "vms: a list is wanted"));
	if (node->data.sequence.items.start == node->data.sequence.items.top)
		return locate(rd, node, config_fail(rd->err, "vms: the list is empty"));
	for (yaml_node_item_t *item = node->data.sequence.items.start;
	     r == 0 && item < node->data.sequence.items.top; item++)
		r = read_vm(rd, yaml_document_get_node(rd->doc, *item));
	return r;
}

/* Of the settings for all VMs that which may be another while they run. */
static int read_level(struct reader *rd, const yaml_node_t *node)
{
	const char *text = NULL;
	int r = take_scalar(rd, node, &text);

	if (r == 0 && !level_parse(&rd->plan->log_level, text))
		r = config_fail(rd->err, SHOWN " is none of error, warn, info, debug, trace", text);
	return locate(rd, node, config_prefix(rd->err, r, "log-level"));
}

enum { GIVEN_VMS = 1, GIVEN_LEVEL = 2 };

static const struct root_key {
	const char *name;
	unsigned given;
	int (*read)(struct reader *rd, const yaml_node_t *node);
} root_keys[] = {
	{ "vms", GIVEN_VMS, read_vms },
	{ "log-level", GIVEN_LEVEL, read_level },
	{ "log_level", GIVEN_LEVEL, read_level },
	{ .name = NULL },
};

/* Which one it is, for the first time. */
static int read_root_key(struct reader *rd, const yaml_node_t *node, unsigned *given,
			 const struct root_key **out)
{
	const struct root_key *key = root_keys;
	const char *name = NULL;
	int r = take_scalar(rd, node, &name);

	while (r == 0 && key->name && strcmp(name, key->name) != 0)
		key++;
	if (r == 0 && !key->name)
		r = config_fail(rd->err, "unknown key " SHOWN, name);
	else if (r == 0 && *given & key->given)
		r = config_fail(rd->err, "%s: given twice", key->name);
	if (r)
		return locate(rd, node, r);
	*given |= key->given;
	*out = key;
	return 0;
}

static int read_root(struct reader *rd)
{
	const yaml_node_t *root = yaml_document_get_root_node(rd->doc);
	unsigned given = 0;
	int r = 0;

	if (!root)
		return config_prefix(rd->err, config_fail(rd->err, "the file is empty"),
				     "%s", rd->name);
	if (root->type != YAML_MAPPING_NODE)
		return locate(rd, root, config_fail(rd->err, "a mapping with the key "
						    "'vms' is wanted"));
	for (yaml_node_pair_t *pair = root->data.mapping.pairs.start;
	     r == 0 && pair < root->data.mapping.pairs.top; pair++) {
		const struct root_key *key = NULL;

		r = read_root_key(rd, yaml_document_get_node(rd->doc, pair->key), &given, &key);
		if (r == 0)
			r = key->read(rd, yaml_document_get_node(rd->doc, pair->value));
	}
	if (r == 0 && !(given & GIVEN_VMS))
		r = locate(rd, root, config_fail(rd->err, "no list 'vms'"));
	return r;
}

/* The reader's errors come with an offset only. */
static size_t line_of_offset(const char *text, size_t len, size_t offset)
{
	size_t line = 1;

	for (size_t i = 0; i < len && i < offset; i++)
		line += text[i] == '\n';
	return line;
}

static int fail_syntax(const yaml_parser_t *parser, const char *text, size_t len,
		       const char *name, struct config_error *err)
{
	size_t line = parser->problem_mark.line + 1;
	int r;

	/* Some of its allocations fail without naming an error. */
	if (parser->error == YAML_MEMORY_ERROR || !parser->problem)
		return -ENOMEM;
	if (parser->error == YAML_READER_ERROR)
		line = line_of_offset(text, len, parser->problem_offset);
	r = config_fail(err, "%s", parser->problem);
	return config_prefix(err, r, "%s:%zu", name, line);
}

/* The first document and nothing behind it. @doc is the caller's to delete if 0. */
static int load_document(yaml_document_t *doc, const char *text, size_t len,
			 const char *name, struct config_error *err)
{
	yaml_document_t second;
	yaml_parser_t parser;
	int r = 0;

	if (!yaml_parser_initialize(&parser))
		return -ENOMEM;
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	if (!yaml_parser_load(&parser, doc)) {
		r = fail_syntax(&parser, text, len, name, err);
	} else if (yaml_document_get_root_node(doc)) {
		if (!yaml_parser_load(&parser, &second)) {
			r = fail_syntax(&parser, text, len, name, err);
		} else {
			if (yaml_document_get_root_node(&second))
				r = config_prefix(err, config_fail(err, "a second document"),
						  "%s:%zu", name, second.start_mark.line + 1);
			yaml_document_delete(&second);
		}
		if (r)
			yaml_document_delete(doc);
	}
	yaml_parser_delete(&parser);
	return r;
}

int yaml_parse_plan(const char *text, size_t len, const char *name, struct plan *plan,
		    struct config_error *err)
{
	yaml_document_t doc;
	struct reader rd = { .doc = &doc, .name = name, .plan = plan, .err = err };
	int r = load_document(&doc, text, len, name, err);

	if (r)
		return r;
	r = read_root(&rd);
	yaml_document_delete(&doc);
	return r;
}

/* Reads to the end, at most @max bytes. */
static int read_all(int fd, char *text, size_t max, size_t *len)
{
	ssize_t n;

	*len = 0;
	do {
		n = read(fd, text + *len, max - *len);
		if (n > 0)
			*len += (size_t)n;
		else if (n < 0 && errno != EINTR)
			return -errno;
	} while (n != 0 && *len < max);
	return 0;
}

int yaml_load(const char *path, struct plan *plan, struct config_error *err)
{
	char *text = NULL;
	size_t len;
	int fd, r;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	r = fd < 0 ? -errno : 0;
	if (r == 0) {
		text = malloc(YAML_FILE_MAX + 1);
		r = text ? read_all(fd, text, YAML_FILE_MAX + 1, &len) : -ENOMEM;
	}
	if (r == 0 && len > YAML_FILE_MAX)
		r = config_fail(err, "more than %d bytes", YAML_FILE_MAX);
	if (r)
		r = config_prefix(err, r, "--config: %s", path);
	else
		r = yaml_parse_plan(text, len, path, plan, err);
	free(text);
	fd_close(&fd);
	return r;
}
