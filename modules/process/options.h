/* options.h - see options.c. */
#ifndef WS_PROCESS_OPTIONS_H
#define WS_PROCESS_OPTIONS_H

#include "process.h"

#include <lua.h>

enum process_output_how { OUT_COLLECT, OUT_DISCARD, OUT_INHERIT, OUT_PIPE, OUT_MERGE, OUT_FILE };

struct process_output {
	enum process_output_how how;
	bool lines; /* read line by line from Lua */
	bool append;
	const char *file;
};

/* Everything borrowed from Lua values on the stack. */
struct process_options {
	struct process_spec spec; /* without the file and the descriptors */
	const char *path;         /* the child's PATH */
	struct process_output out, err;
	bool stdin_pipe;
	const char *stdin_data; /* NULL: written later, from Lua */
	size_t stdin_len;
	double timeout, grace, linger;
	size_t max_output;
	int stop_signal;
	bool detached;
	bool interactive;
	bool refused; /* a variable that this run may not give: errno says so, on this thread */
};

/* Reads argv at 1, the options at 2, the environment's overlay at 3 (a table or nil), the default timeout at 4 (a number
 * or nil: none), and leaves what it borrows on the stack. Raises on misuse. */
void process_options_read(lua_State *L, struct process_options *o);

#endif
