/* crc32c.h - CRC32C (Castagnoli, RFC 3720 appendix B.4), by the processor's instruction where there is one. */
#ifndef WS_CRYPTO_CRC32C_H
#define WS_CRYPTO_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of `data` that follows bytes with the checksum `crc` (0 at the beginning). Never raises. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);
/* The same without special instructions. Never raises. */
uint32_t crc32c_table(uint32_t crc, const void *data, size_t len);

#endif
