/* tar.h - the headers of a tar archive that is written: ustar (POSIX.1-1988), and a pax record (POSIX.1-2001) for what
 * does not fit into it. The same entry gives the same bytes, whatever the locale: names are bytes. */
#ifndef WS_ARCHIVE_TAR_H
#define WS_ARCHIVE_TAR_H

#include <ws/buf.h>

enum { TAR_BLOCK = 512 };
#define TAR_MAX_TIME 077777777777LL

struct tar_entry {
	const char *name;
	const char *link; /* target of a symbolic link, or NULL */
	long long size;   /* of the content that follows; 0 for folders and links */
	long long mtime;  /* 0..TAR_MAX_TIME */
	int mode;         /* permission bits */
	char type;        /* '0' file, '2' symbolic link, '5' folder */
};

/* Appends the entry's header. Returns 0, or -1 without memory. Never raises. */
int tar_header(struct ws_buf *out, const struct tar_entry *entry);

#endif
