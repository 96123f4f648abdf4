---@meta ws.crypto

--- Hashes, encodings, random bytes, RSA signatures and certificates. Wherever data is expected, a secret may be given.
local crypto = {}

--- SHA-256 (FIPS 180-4).
---@param data string|ws.Secret
---@param opts? { raw?: boolean }  `raw`: the bytes instead of hexadecimal digits
---@return string digest
function crypto.sha256(data, opts) end

--- SHA-512 (FIPS 180-4).
---@param data string|ws.Secret
---@param opts? { raw?: boolean }
---@return string digest
function crypto.sha512(data, opts) end

--- SHA-1: for formats that ask for it, never for security.
---@param data string|ws.Secret
---@param opts? { raw?: boolean }
---@return string digest
function crypto.sha1(data, opts) end

--- MD5: for formats that ask for it (Cloud Storage's md5Hash), never for security. Raises where a policy forbids it.
---@param data string|ws.Secret
---@param opts? { raw?: boolean }
---@return string digest
function crypto.md5(data, opts) end

--- CRC32C (RFC 3720 appendix B.4), by the processor's instruction where there is one.
---@param data string|ws.Secret
---@param crc? integer  checksum of what came before, default 0
---@return integer crc
function crypto.crc32c(data, crc) end

--- HMAC with SHA-256 (RFC 2104).
---@param key string|ws.Secret
---@param data string|ws.Secret
---@param opts? { raw?: boolean }
---@return string mac
function crypto.hmac_sha256(key, data, opts) end

--- SHA-256 of a file, in the thread pool.
---@async
---@param path string
---@param opts? { raw?: boolean }
---@return string? digest
---@return ws.Error? err  kinds `not_found`, `denied`, `invalid` (a folder), `io`
function crypto.sha256_file(path, opts) end

--- MD5 of a file, in the thread pool.
---@async
---@param path string
---@param opts? { raw?: boolean }
---@return string? digest
---@return ws.Error? err
function crypto.md5_file(path, opts) end

--- CRC32C of a file, in the thread pool.
---@async
---@param path string
---@return integer? crc
---@return ws.Error? err
function crypto.crc32c_file(path) end

--- A hash that is fed piece by piece. Raises for an unknown name.
---@param name "sha256"|"sha512"|"sha1"|"md5"|"crc32c"
---@return ws.crypto.Hash
function crypto.hash(name) end

---@class ws.crypto.Hash
local Hash = {}

--- Adds data. Raises after `digest`.
---@param data string|ws.Secret
---@return ws.crypto.Hash  itself
function Hash:update(data) end

--- Ends the hash.
---@param opts? { raw?: boolean }
---@return string|integer digest  an integer for crc32c
function Hash:digest(opts) end

--- Base64 with padding (RFC 4648 section 4). Of a secret it is a secret.
---@param data string|ws.Secret
---@return string|ws.Secret text
function crypto.base64_encode(data) end

--- Decodes base64; white space is skipped, anything else that is not exact is refused. Of a secret it is a secret.
---@param text string|ws.Secret
---@return string|ws.Secret|nil data
---@return ws.Error? err  kind `parse`
function crypto.base64_decode(text) end

--- Base64 for URLs and file names, without padding (RFC 4648 section 5).
---@param data string|ws.Secret
---@return string|ws.Secret text
function crypto.base64url_encode(data) end

--- Decodes base64 for URLs, with or without padding.
---@param text string|ws.Secret
---@return string|ws.Secret|nil data
---@return ws.Error? err  kind `parse`
function crypto.base64url_decode(text) end

--- Hexadecimal digits, in lower case.
---@param data string|ws.Secret
---@return string|ws.Secret text
function crypto.hex_encode(data) end

--- Decodes hexadecimal digits of either case.
---@param text string|ws.Secret
---@return string|ws.Secret|nil data
---@return ws.Error? err  kind `parse`
function crypto.hex_decode(text) end

--- Random bytes from the kernel. Raises for more than 1 MiB.
---@param n integer
---@return string
function crypto.random_bytes(n) end

--- Random bytes as hexadecimal digits.
---@param n integer  bytes; the text has 2n digits
---@return string
function crypto.random_hex(n) end

--- A random UUID, version 4 (RFC 9562).
---@return string
function crypto.uuid() end

--- Compares in a time that tells nothing about where the values differ.
---@param a string|ws.Secret
---@param b string|ws.Secret
---@return boolean
function crypto.equal(a, b) end

--- Signs with a private key, SHA-256: RSASSA-PKCS1-v1_5 (RS256 of RFC 7518) for RSA keys, ECDSA for EC keys.
---@param key string|ws.Secret  PEM, PKCS#8 or PKCS#1
---@param data string|ws.Secret
---@return string? signature
---@return ws.Error? err  kinds `parse` (no key, or an encrypted one), `invalid`
function crypto.rsa_sign(key, data) end

--- Checks a signature of `rsa_sign`.
---@param key string|ws.Secret  PEM: public key, certificate or private key
---@param data string|ws.Secret
---@param signature string
---@return boolean? valid
---@return ws.Error? err  kind `parse`
function crypto.rsa_verify(key, data, signature) end

crypto.x509 = {}

---@class ws.crypto.CertificateOptions
---@field subject string  common name
---@field organization? string
---@field names? string[]  DNS names that it is valid for
---@field ips? string[]  addresses that it is valid for
---@field ca? boolean  it may sign others; default false: a certificate of a server or client
---@field issuer? { cert: string, key: string|ws.Secret }  who signs; default: itself
---@field days? integer  that it is valid, default 365
---@field key? "ec"|"rsa"  P-256 (the default) or RSA with 2048 bits

--- Makes a key and its certificate (X.509 version 3, RFC 5280), in the thread pool. Raises on unknown options and on
--- names with characters that a name cannot have.
---@async
---@param opts ws.crypto.CertificateOptions
---@return { cert: string, key: ws.Secret }? pair  PEM
---@return ws.Error? err  kinds `parse`, `invalid` (the issuer)
function crypto.x509.create(opts) end

return crypto
