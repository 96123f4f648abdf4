local crypto = require "ws.crypto"
local fs = require "ws.fs"
local process = require "ws.process"
local secret = require "ws.secret"

--- Runs the openssl program, to compare with.
local function openssl(t, args, stdin)
  if not process.which "openssl" then t:skip "no openssl program" end
  local result = t:ok(process.run({ "openssl", table.unpack(args) }, { stdin = stdin, timeout = 30 }))
  return result
end

return function(test)
  test("the README's example is true", function(t) t:examples "modules/crypto/README.md" end)

  test("hashes of the standards' own examples", function(t)
    t:eq(crypto.sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    t:eq(crypto.sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    t:eq(crypto.sha512("abc"):sub(1, 16), "ddaf35a193617aba")
    t:eq(crypto.sha1("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d")
    t:eq(crypto.md5("abc"), "900150983cd24fb0d6963f7d28e17f72")
    t:eq(crypto.hex_encode(crypto.sha256("abc", { raw = true })), crypto.sha256("abc"))
    t:eq(crypto.sha256(secret.new("abc")), crypto.sha256("abc"))
    -- RFC 4231, test cases 1, 2 and 6
    t:eq(crypto.hmac_sha256(("\x0b"):rep(20), "Hi There"),
      "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7")
    t:eq(crypto.hmac_sha256("Jefe", "what do ya want for nothing?"),
      "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
    t:eq(crypto.hmac_sha256(("\xaa"):rep(131), "Test Using Larger Than Block-Size Key - Hash Key First"),
      "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54")
  end)

  test("CRC32C of RFC 3720, in any pieces", function(t)
    t:eq(crypto.crc32c(("\0"):rep(32)), 0x8a9136aa)
    t:eq(crypto.crc32c(("\xff"):rep(32)), 0x62a8ab43)
    t:eq(crypto.crc32c("123456789"), 0xe3069283)
    t:eq(crypto.crc32c(""), 0)
    local data = crypto.random_bytes(1000)
    local whole = crypto.crc32c(data)
    for cut = 0, 1000, 7 do t:eq(crypto.crc32c(data:sub(cut + 1), crypto.crc32c(data:sub(1, cut))), whole) end
    t:raises("32 bits", crypto.crc32c, "", -1)
  end)

  test("hashes piece by piece", function(t)
    local data = crypto.random_bytes(100000)
    for _, name in ipairs { "sha256", "sha512", "sha1", "md5", "crc32c" } do
      local hash = crypto.hash(name)
      for at = 1, #data, 777 do hash:update(data:sub(at, at + 776)) end
      t:eq(hash:digest(), crypto[name](data), name)
      t:eq(hash:digest(), crypto[name](data), "twice")
    end
    local hash = crypto.hash "sha256"
    hash:digest()
    t:raises("has ended", hash.update, hash, "x")
    t:raises("invalid option", crypto.hash, "sha3")
  end)

  test("hashes of files", function(t)
    local path = t:tmpdir() .. "/data"
    local data = crypto.random_bytes(1 << 20)
    t:ok(fs.write(path, data))
    t:eq(t:ok(crypto.sha256_file(path)), crypto.sha256(data))
    t:eq(t:ok(crypto.md5_file(path, { raw = true })), crypto.md5(data, { raw = true }))
    t:eq(t:ok(crypto.crc32c_file(path)), crypto.crc32c(data))
    t:has(t:err("not_found", crypto.sha256_file(path .. "x")).message, path .. "x")
    t:err("invalid", crypto.crc32c_file("/"))
  end)

  test("base64 of RFC 4648, exact both ways", function(t)
    local plain = { "", "f", "fo", "foo", "foob", "fooba", "foobar" }
    local encoded = { "", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy" }
    for i, text in ipairs(plain) do
      t:eq(crypto.base64_encode(text), encoded[i])
      t:eq(crypto.base64_decode(encoded[i]), text)
      t:eq(crypto.base64url_decode((encoded[i]:gsub("=", ""))), text)
    end
    t:eq(crypto.base64url_encode("\xfb\xff\xfe"), "-__-")
    t:eq(crypto.base64_encode("\xfb\xff\xfe"), "+//+")
    t:eq(crypto.base64_decode(" Zm9v\nYmFy\r\n"), "foobar")
    for n = 0, 100 do
      local data = crypto.random_bytes(n)
      t:ok(crypto.base64_decode(crypto.base64_encode(data)) == data)
      t:ok(crypto.base64url_decode(crypto.base64url_encode(data)) == data)
      t:ok(crypto.hex_decode(crypto.hex_encode(data)) == data)
    end
    for _, text in ipairs { "Z", "Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "Z=g=", "Zm9v=", "Zm 9-", "\0\0\0\0" } do
      t:err("parse", crypto.base64_decode(text))
    end
    for _, text in ipairs { "Z", "Zh", "+//+", "Zg=" } do t:err("parse", crypto.base64url_decode(text)) end
    t:eq(crypto.hex_decode("00fFAb"), "\x00\xff\xab")
    for _, text in ipairs { "0", "0g", "-1", "0x" } do t:err("parse", crypto.hex_decode(text)) end
  end)

  test("what is made of a secret is a secret", function(t)
    local value = secret.new("a secret value")
    for _, name in ipairs { "base64", "base64url", "hex" } do
      local encoded = crypto[name .. "_encode"](value)
      t:ok(secret.is(encoded), name)
      local decoded = crypto[name .. "_decode"](encoded)
      t:ok(secret.is(decoded), name)
      t:ok(decoded == value, name)
    end
  end)

  test("random values differ; UUIDs have their form", function(t)
    t:eq(#crypto.random_bytes(0), 0)
    t:eq(#crypto.random_bytes(100), 100)
    t:eq(#crypto.random_hex(8), 16)
    local seen = {}
    for _ = 1, 1000 do
      local id = crypto.uuid()
      t:ok(id:find("^%x%x%x%x%x%x%x%x%-%x%x%x%x%-4%x%x%x%-[89ab]%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x$"), id)
      t:eq(seen[id], nil)
      seen[id] = true
    end
    t:raises("1 MiB", crypto.random_bytes, (1 << 20) + 1)
    t:raises("1 MiB", crypto.random_bytes, -1)
  end)

  test("equal compares content", function(t)
    t:eq(crypto.equal("abc", "abc"), true)
    t:eq(crypto.equal("abc", secret.new("abc")), true)
    t:eq(crypto.equal("abc", "abd"), false)
    t:eq(crypto.equal("abc", "abcd"), false)
    t:eq(crypto.equal("", ""), true)
  end)

  test("signatures hold, in every form of key, and agree with the openssl program", function(t)
    local pair = t:ok(crypto.x509.create { subject = "signer", key = "rsa" })
    local dir = t:tmpdir()
    t:ok(fs.write(dir .. "/pkcs8.pem", pair.key, { mode = 384 }))
    openssl(t, { "rsa", "-in", dir .. "/pkcs8.pem", "-traditional", "-out", dir .. "/pkcs1.pem" })
    openssl(t, { "rsa", "-in", dir .. "/pkcs8.pem", "-pubout", "-out", dir .. "/public.pem" })
    openssl(t, { "rsa", "-in", dir .. "/pkcs8.pem", "-aes128", "-passout", "pass:x", "-out", dir .. "/locked.pem" })
    local pkcs1, public = t:ok(fs.read(dir .. "/pkcs1.pem")), t:ok(fs.read(dir .. "/public.pem"))
    t:has(pkcs1, "BEGIN RSA PRIVATE KEY")
    local signature = t:ok(crypto.rsa_sign(secret.new(pkcs1), "data"))
    t:ok(signature == t:ok(crypto.rsa_sign(pair.key, "data")))
    for _, key in ipairs { public, pair.cert, pair.key } do
      t:eq(crypto.rsa_verify(key, "data", signature), true)
      t:eq(crypto.rsa_verify(key, "date", signature), false)
      t:eq(crypto.rsa_verify(key, "data", signature:sub(2)), false)
    end
    t:ok(fs.write(dir .. "/sig", signature))
    t:ok(fs.write(dir .. "/data", "data"))
    local verdict = openssl(t, { "dgst", "-sha256", "-verify", dir .. "/public.pem", "-signature", dir .. "/sig",
      dir .. "/data" })
    t:has(verdict.stdout, "Verified OK")
    t:err("parse", crypto.rsa_sign(t:ok(fs.read(dir .. "/locked.pem")), "data"))
    t:err("parse", crypto.rsa_sign("no key", "data"))
    t:err("parse", crypto.rsa_sign(public, "data"))
    t:err("parse", crypto.rsa_verify("no key", "data", signature))
  end)

  test("certificates are what they were asked to be", function(t)
    local ca = t:ok(crypto.x509.create { subject = "Authority", organization = "Test", ca = true, days = 30 })
    local other = t:ok(crypto.x509.create { subject = "Other", ca = true })
    local cert = t:ok(crypto.x509.create { subject = "server", names = { "localhost", "*.example.org" },
      ips = { "127.0.0.1", "::1" }, issuer = ca, days = 10 })
    t:ok(secret.is(cert.key))
    local dir = t:tmpdir()
    for name, text in pairs { ca = ca.cert, other = other.cert, cert = cert.cert } do
      t:ok(fs.write(dir .. "/" .. name .. ".pem", text))
    end
    local shown = openssl(t, { "x509", "-in", dir .. "/cert.pem", "-noout", "-text" }).stdout
    for _, part in ipairs { "Version: 3", "Issuer: O = Test, CN = Authority", "Subject: CN = server", "CA:FALSE",
      "DNS:localhost, DNS:*.example.org, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1", "prime256v1",
      "TLS Web Server Authentication" } do
      t:has(shown, part)
    end
    local function verify(authority)
      return openssl(t, { "verify", "-x509_strict", "-CAfile", ("%s/%s.pem"):format(dir, authority),
        dir .. "/cert.pem" }).code
    end
    t:eq(verify "ca", 0)
    t:ok(verify "other" ~= 0)
  end)

  test("what no certificate can be is refused", function(t)
    local create = crypto.x509.create
    local ca = t:ok(create { subject = "Authority", ca = true })
    local other = t:ok(create { subject = "Other", ca = true })
    t:raises("'subject' expected", create, {})
    t:raises("unknown option 'name'", create, { subject = "x", name = "y" })
    t:raises("cannot be in names", create, { subject = "x", names = { "a,DNS:b" } })
    t:raises("cannot be in ips", create, { subject = "x", ips = { "localhost" } })
    t:raises("days", create, { subject = "x", days = 0 })
    t:raises("invalid option", create, { subject = "x", key = "dsa" })
    t:err("invalid", create { subject = "x", ips = { "1.2.3.4.5" } })
    t:err("invalid", create { subject = ("x"):rep(100) })
    t:err("invalid", create { subject = "x", issuer = { cert = ca.cert, key = other.key } })
    t:err("parse", create { subject = "x", issuer = { cert = "no", key = other.key } })
    t:err("parse", create { subject = "x", issuer = { cert = ca.cert, key = "no" } })
  end)
end
