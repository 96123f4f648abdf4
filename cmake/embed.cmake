# Writes a C file with every file of FILES (relative to ROOT), sorted by path; the assembler reads the bytes.
list(SORT FILES)
set(asm "")
set(declarations "")
set(rows "")
set(count 0)
foreach(file IN LISTS FILES)
  string(APPEND asm "\"ws_f${count}: .incbin \\\"${ROOT}/${file}\\\"\\nws_e${count}: .byte 0\\n\"\n")
  string(APPEND declarations "extern const char ws_f${count}[], ws_e${count}[];\n")
  string(APPEND rows "\t{\"${file}\", ws_f${count}, ws_e${count}},\n")
  math(EXPR count "${count} + 1")
endforeach()
file(WRITE ${OUTPUT} "/* Made by cmake/embed.cmake. */
#include \"engine.h\"

__asm__(\".section .rodata\\n\"
${asm}\".previous\\n\");

${declarations}
const struct ws_embedded ws_embedded_files[] = {
${rows}};
const size_t ws_embedded_count = ${count};
")
