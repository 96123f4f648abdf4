/* lazy.c - see ws/lazy.h. */
#include <ws/lazy.h>

#include <dlfcn.h>

int ws_lazy_load(void **slots, const char *const *names, const char *soname, int *loaded, struct ws_err *err)
{
	/* RTLD_LAZY: libcurl and what it brings have thousands of functions that no run calls. */
	void *library = dlopen(soname, RTLD_LAZY | RTLD_LOCAL);
	if (library == NULL) {
		ws_err_set(err, "missing_tool", "cannot load %s: %s", soname, dlerror());
		ws_err_hint(err, "install the package that has this library; `make deps` does it from a checkout");
		return -1;
	}
	for (size_t i = 0; names[i] != NULL; i++) {
		slots[i] = dlsym(library, names[i]);
		if (slots[i] == NULL) {
			ws_err_set(
				err, "missing_tool", "%s has no function %s: the library is too old", soname, names[i]);
			dlclose(library);
			return -1;
		}
	}
	*loaded = 1; /* the library stays loaded until the process ends */
	return 0;
}
