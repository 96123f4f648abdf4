std = "lua54"
max_line_length = 120
ignore = { "212/self" }
exclude_files = { "build*", ".cache", ".wsrun" }
-- Type stubs declare names without using them.
files["**/types.lua"] = { ignore = { "111", "112", "113", "131", "211", "212", "213", "241" } }
-- The host's first file says what scripts may have: it writes globals on purpose.
files["**/types/*.lua"] = { ignore = { "111", "112", "113", "131", "211", "212", "213" } }
files["host/lua/ws/boot.lua"] = { ignore = { "121", "122", "131" } }
files["host/lua/ws/environment.lua"] = { ignore = { "122" } }
files["host/lua/ws/cli/run.lua"] = { globals = { "arg" } }
