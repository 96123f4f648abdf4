/* api.h - what is used of libarchive, loaded at first use. */
#ifndef WS_ARCHIVE_API_H
#define WS_ARCHIVE_API_H

#include <ws/lazy.h>

#include <archive.h>
#include <archive_entry.h>

#define ARCHIVE_FUNCTIONS(F) \
	F(archive_read_new) \
	F(archive_read_free) \
	F(archive_read_support_filter_gzip) \
	F(archive_read_support_filter_zstd) \
	F(archive_read_support_format_tar) \
	F(archive_read_support_format_raw) \
	F(archive_read_support_format_empty) \
	F(archive_read_open_memory) \
	F(archive_read_open_filename) \
	F(archive_read_next_header) \
	F(archive_read_data) \
	F(archive_write_new) \
	F(archive_write_free) \
	F(archive_write_close) \
	F(archive_write_add_filter_gzip) \
	F(archive_write_set_format_raw) \
	F(archive_write_set_options) \
	F(archive_write_open) \
	F(archive_write_set_bytes_per_block) \
	F(archive_write_header) \
	F(archive_write_data) \
	F(archive_error_string) \
	F(archive_errno) \
	F(archive_entry_new) \
	F(archive_entry_free) \
	F(archive_entry_set_filetype) \
	F(archive_entry_pathname) \
	F(archive_entry_pathname_utf8) \
	F(archive_entry_symlink) \
	F(archive_filter_bytes) \
	F(archive_filter_code) \
	F(archive_entry_filetype) \
	F(archive_entry_perm) \
	F(archive_entry_size) \
	F(archive_entry_hardlink)

WS_LAZY_TABLE(archive, ARCHIVE_FUNCTIONS);

extern struct archive_api ws_archive;

#endif
