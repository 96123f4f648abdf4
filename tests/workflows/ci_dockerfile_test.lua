-- What of a Dockerfile can be made into an image without running anything, and what is refused, with its line.
local dockerfile = require "lib.ci.dockerfile"
local fs = require "ws.fs"

local BUILD = "FROM golang:1.26 AS build\nWORKDIR /src\nRUN CGO_ENABLED=0 go build -o /app .\n"

local function plan(text) return dockerfile.plan(BUILD .. text) end

return function(test)
  test("the sample application's own", function(t)
    local text = assert(fs.read "app/src/Dockerfile")
    t:eq(dockerfile.plan(text), { program = "/app", copies = {}, env = {}, labels = {}, entrypoint = { "/app" },
      user = "65532:65532", ports = { "8080/tcp", "8443/tcp" } })
    t:eq(dockerfile.bases(text), { "golang:1.26" })
    t:eq(dockerfile.takes(text, "VERSION"), true)
    t:eq(dockerfile.takes(text, "COMMIT"), false)
  end)

  test("everything that the last stage may say", function(t)
    local p = t:ok(plan [[
# a comment
FROM gcr.io/distroless/static:nonroot
ENV A=1 B="two words" \
  # between

    C=x=y
LABEL org.opencontainers.image.title="app"
WORKDIR /srv
WORKDIR data
COPY --from=0 /app bin/
COPY LICENSE .hidden/
COPY page.html /www/index.html
USER nobody
EXPOSE 53/udp
entrypoint ["/srv/data/bin/app", "-v"]
CMD []
]])
    t:eq(p.base, "gcr.io/distroless/static:nonroot")
    t:eq(p.env, { A = "1", B = "two words", C = "x=y" })
    t:eq(p.program, "/srv/data/bin/app")
    t:eq(p.workdir, "/srv/data")
    t:eq(p.copies, { { from = "LICENSE", to = "/srv/data/.hidden/LICENSE", line = 14 },
      { from = "page.html", to = "/www/index.html", line = 15 } })
    t:eq({ p.entrypoint, p.cmd, p.ports }, { { "/srv/data/bin/app", "-v" }, {}, { "53/udp" } })
  end)

  test("a base by an argument, several stages, here-documents", function(t)
    local text = "ARG BASE=alpine:3\nFROM --platform=linux/amd64 $BASE AS tools\nRUN <<EOF\nFROM nothing\nEOF\n"
      .. "FROM tools AS more\nFROM scratch\n"
    t:eq(dockerfile.bases(text), { "alpine:3" })
    t:eq(#dockerfile.stages(text), 3)
  end)

  test("names of images as registries want them", function(t)
    for short, full in pairs { ["golang:1.26"] = "docker.io/library/golang:1.26",
      alpine = "docker.io/library/alpine:latest",
      ["team/tool:1"] = "docker.io/team/tool:1", ["gcr.io/distroless/static"] = "gcr.io/distroless/static",
      ["localhost/x"] = "localhost/x", ["host:5000/x:1"] = "host:5000/x:1" } do
      t:eq(dockerfile.full_reference(short), full)
    end
  end)

  test("what needs a container is refused at its line", function(t)
    for text, why in pairs {
      ["FROM scratch\nCOPY --from=build /app /app\nRUN true\n"] = "line 6: RUN in the last stage runs something",
      ["FROM alpine\nCOPY --from=build /etc/certs /etc/\n"] = "line 5: COPY takes /etc/certs, which is not the",
      ["FROM alpine\nCOPY --from=other /app /app\n"] = "line 5: COPY takes from other, which is no stage",
      ["FROM alpine\nCOPY --chown=1 a b\n"] = "line 5: COPY with --chown=1",
      ["FROM alpine\nCOPY *.html /www/\n"] = "line 5: COPY takes one file and its target",
      ["FROM alpine\nADD a b\n"] = "line 5: ADD in the last stage",
      ["FROM scratch\nENTRYPOINT /app\n"] = "line 5: ENTRYPOINT is no list of words",
      ["FROM scratch\nENV A B\n"] = "line 5: ENV is written in a form",
      ["FROM scratch\nENV A=$B\n"] = "line 5: ENV in the last stage uses a variable",
      ["FROM build\n"] = "line 4: FROM builds on the stage build",
      ["FROM scratch\nUSER 1\n"] = "line 4: the last stage takes no program",
    } do
      local err = t:err("unsupported", plan(text))
      t:has(err.message, why)
      t:has(err.hint, "docker, buildah or podman")
    end
    t:has(t:err("invalid", dockerfile.plan "RUN x\n").message, "there is no FROM")
    t:err("invalid", dockerfile.plan "")
  end)
end
