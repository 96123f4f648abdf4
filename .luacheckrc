std = "lua54"
max_line_length = 120
exclude_files = { "build*", ".cache", ".wsrun" }
-- Type stubs declare names without using them.
files["**/types.lua"] = { ignore = { "111", "112", "113", "131", "211", "212", "213" } }
