/* number.h - floats as text, the same for every format that is written. */
#ifndef WS_NUMBER_H
#define WS_NUMBER_H

#include <stddef.h>

enum { WS_FLOAT_TEXT = 40 };

/* Writes a finite float with the fewest digits that give it back when read, always with a decimal point, so that it stays
 * a float: 0.1, 100.0, 1.0e+22. Returns the length; the text has no NUL. Never raises. */
size_t ws_float_text(char out[WS_FLOAT_TEXT], double d);

#endif
