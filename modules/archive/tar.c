#include "tar.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { NAME = 100, PREFIX = 155 };

/* Where the fields of a header begin; its numbers are octal digits and a NUL. */
enum {
	AT_NAME = 0,
	AT_MODE = 100,
	AT_UID = 108,
	AT_GID = 116,
	AT_SIZE = 124,
	AT_MTIME = 136,
	AT_CHECKSUM = 148,
	AT_TYPE = 156,
	AT_LINK = 157,
	AT_MAGIC = 257,
	AT_MAJOR = 329,
	AT_MINOR = 337,
	AT_PREFIX = 345,
};

static void octal(char *field, int width, unsigned long long value)
{
	char text[32];
	snprintf(text, sizeof text, "%0*llo", width - 1, value);
	memcpy(field, text, (size_t)width);
}

/* Puts a name into the name and prefix fields. Returns false when it does not fit. */
static bool place_name(char *block, const char *name)
{
	size_t len = strlen(name);
	if (len <= NAME) {
		memcpy(block + AT_NAME, name, len);
		return true;
	}
	/* the prefix ends at a slash that is in neither field; the name's part must not be empty */
	for (size_t i = len - 1 < PREFIX ? len - 1 : PREFIX; i > 0 && len - i - 1 <= NAME; i--) {
		if (name[i] != '/' || i == len - 1)
			continue;
		memcpy(block + AT_PREFIX, name, i);
		memcpy(block + AT_NAME, name + i + 1, len - i - 1);
		return true;
	}
	return false;
}

static int add_block(struct ws_buf *out, char *block)
{
	unsigned sum = 0;
	memset(block + AT_CHECKSUM, ' ', 8);
	for (int i = 0; i < TAR_BLOCK; i++)
		sum += (unsigned char)block[i];
	octal(block + AT_CHECKSUM, 7, sum);
	return ws_buf_add(out, block, TAR_BLOCK);
}

static void fill(char *block, const struct tar_entry *entry, char type, unsigned long long size)
{
	octal(block + AT_MODE, 8, (unsigned)entry->mode & 07777);
	octal(block + AT_UID, 8, 0);
	octal(block + AT_GID, 8, 0);
	octal(block + AT_SIZE, 12, size);
	octal(block + AT_MTIME, 12, (unsigned long long)entry->mtime);
	block[AT_TYPE] = type;
	memcpy(block + AT_MAGIC, "ustar\00000", 8);
	octal(block + AT_MAJOR, 8, 0);
	octal(block + AT_MINOR, 8, 0);
}

/* A record says its own length, digits included. */
static int add_record(struct ws_buf *out, const char *key, const char *value)
{
	size_t rest = strlen(key) + strlen(value) + 3, len = rest;
	char digits[32];
	for (int i = 0; i < 3; i++)
		len = rest + (size_t)snprintf(digits, sizeof digits, "%zu", len);
	return ws_buf_adds(out, digits) || ws_buf_adds(out, " ") || ws_buf_adds(out, key) || ws_buf_adds(out, "=") ||
			       ws_buf_adds(out, value) || ws_buf_adds(out, "\n")
		       ? -1
		       : 0;
}

static int add_pax(struct ws_buf *out, const struct tar_entry *entry, const struct ws_buf *records)
{
	static const char zeros[TAR_BLOCK];
	char block[TAR_BLOCK] = {0};
	struct tar_entry header = {.mode = 0644, .mtime = entry->mtime};
	fill(block, &header, 'x', records->len);
	memcpy(block + AT_NAME, "././@PaxHeader", 14);
	if (add_block(out, block) != 0 || ws_buf_add(out, records->data, records->len) != 0)
		return -1;
	size_t over = records->len % TAR_BLOCK;
	return over == 0 ? 0 : ws_buf_add(out, zeros, TAR_BLOCK - over);
}

int tar_header(struct ws_buf *out, const struct tar_entry *entry)
{
	char block[TAR_BLOCK] = {0};
	struct ws_buf records;
	ws_buf_init(&records, 1 << 20);
	int rc = 0;
	unsigned long long size = (unsigned long long)entry->size;
	if (!place_name(block, entry->name)) {
		rc = add_record(&records, "path", entry->name);
		memcpy(block + AT_NAME, entry->name, NAME);
	}
	if (entry->link != NULL && strlen(entry->link) <= NAME) {
		memcpy(block + AT_LINK, entry->link, strlen(entry->link));
	} else if (entry->link != NULL) {
		rc = rc != 0 ? rc : add_record(&records, "linkpath", entry->link);
		memcpy(block + AT_LINK, entry->link, NAME);
	}
	if (size > 077777777777ULL) {
		char digits[32];
		snprintf(digits, sizeof digits, "%llu", size);
		rc = rc != 0 ? rc : add_record(&records, "size", digits);
		size = 0;
	}
	fill(block, entry, entry->type, size);
	if (rc == 0 && records.len > 0)
		rc = add_pax(out, entry, &records);
	ws_buf_free(&records);
	return rc != 0 ? -1 : add_block(out, block);
}
