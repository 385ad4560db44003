# refstis in a container: docker build -t refstis . && docker run --rm -v "$PWD:/data" refstis --help
FROM python:3.13-slim

# what the git tag says outside, because .git stays outside
ARG VERSION=1.0.0.dev0
COPY . /src
WORKDIR /src
RUN SETUPTOOLS_SCM_PRETEND_VERSION=${VERSION} pip install --no-cache-dir . \
    && useradd --uid 1000 --create-home refstis

USER 1000
# compiled kernels are kept where the user may write
ENV NUMBA_CACHE_DIR=/home/refstis/.cache/numba
WORKDIR /data
ENTRYPOINT ["refstis"]
CMD ["--help"]
